"""Where a server listens and how it leaves, for those that accept connections themselves and those that are given them.

Uses the standard library alone: the parent of several serving processes needs nothing else.
"""

import socket

from windlass_core.errors import Unavailable

ALL_INTERFACES = ""

# After SIGTERM new requests still arrive until every node has heard that the pod is leaving; that takes about a second.
DRAIN_DELAY_SECONDS = 3.0
# Requests in flight get this long. With the delay it stays under the 30 s that Kubernetes grants a pod by default.
DRAIN_SECONDS = 20
# Then connections that are open but silent are closed. A request may be on its way on one of them, sent before its client heard
# that the server leaves: they get this long to bring it.
LINGER_SECONDS = 1.0
# Connections that may wait to be accepted while a burst arrives; the kernel caps it by net.core.somaxconn.
BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; all addresses, IPv4 and IPv6, for ALL_INTERFACES. Raises Unavailable when the port is taken."""
    both = host == ALL_INTERFACES and socket.has_dualstack_ipv6()
    try:
        if both:
            return socket.create_server((host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise Unavailable(f"port {port} cannot be listened on: {error.strerror}") from error
