"""From a question's arrays to its answer's: queues in front of an engine, and what runs it.

    computing.py   one batch: joined, run, cut up again, the guilty one found when it fails
    runners.py     what runs batches: the event loop itself for what takes microseconds, one thread for the rest
    placing.py     which of the two
    lane.py        the queue of one version: takes requests in or refuses them, and answers each once
    asking.py      the same for coroutines
    terms.py       what a request asks of the time of its answer
    cache.py       answers given again, in front of a lane
    load.py        how much is asked, as a share of what can be done

Knows no protocol and no HTTP. What is decided here is decided by `windlass_infer.scheduling`.
"""
