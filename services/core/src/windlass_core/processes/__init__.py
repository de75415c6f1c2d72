"""Several processes that serve as one pod, one for each core.

    cores        how many cores this container may use
    supervisor   the parent: starts processes, tells them to end, and replaces those that die
    acceptor     accepts connections, hands each to the process that has the fewest, and keeps it until it is taken
    process, deaths, inquiries   what it keeps of each process, when it gives up, and questions under way
    pulse        whether a process lives
    crew         a process's side: takes connections, and asks all processes of the pod a question
    answers      how the answers of all processes become the pod's: readiness and metrics
    samples      metrics of several processes as one
    collectors   metrics as values that can travel
    frames       what parent and processes say to each other

A listening socket that processes share gives most connections to whoever wakes up first, and SO_REUSEPORT gives them by a hash:
of two connections, both may go to one core while the other idles. A parent that accepts and passes the socket on knows how many
each process has. A process that is asked for more than it can do gives connections back (`windlass_core.relief`), and the
parent gives them to one that is not. With one process there is no parent and none of this.

Processes are started anew and not forked: the libraries that compute have threads from their import on, and a thread does not
survive a fork. Weights are therefore in memory once a process.
"""
