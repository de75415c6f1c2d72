"""What kopf is used for: watch streams, credentials and the life of the process. Each listener passes the event on, no more.

kopf then writes nothing to any object: no annotations, no finalizers.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohttp
import kopf

from windlass_operator.api import PARENTS, WATCHED_CHILDREN, Kind
from windlass_operator.intake import Intake
from windlass_operator.manifests import MANAGED_SELECTOR
from windlass_operator.streams import Streams

# Seconds. kopf's own request timeout is 300; an API server that does not answer in 30 is not going to.
REQUEST_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
# A watch is begun anew this often, which bounds the life of a stream that is silently dead: seconds.
WATCH_SECONDS = 300
LIST_PAGE = 500
# Seconds between tries of one request, a minute together, after which the operator ends and begins anew. For a moment after a
# CRD was made or changed the server answers each watch by 429 and asks for one second; kopf's own rests grow to 21, and for
# as long nothing would be told.
RETRY_SECONDS = (*[1.0] * 10, *[2.0] * 25)


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing of an object: nobody asks what changed.

    kopf would otherwise copy every object of every event twice for a comparison that no listener needs, which was more than
    half of all that the operator computed.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing of an object is worth comparing."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Nothing is remembered."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is to be remembered."""


def operator_settings() -> kopf.OperatorSettings:
    """kopf's settings: streams filtered on the server, nothing written to objects."""
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.posting.enabled = False
    settings.networking.request_timeout = REQUEST_TIMEOUT_SECONDS
    settings.networking.connect_timeout = CONNECT_TIMEOUT_SECONDS
    settings.networking.error_backoffs = RETRY_SECONDS
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + REQUEST_TIMEOUT_SECONDS
    settings.watching.chunk_size = LIST_PAGE
    for kind in WATCHED_CHILDREN:
        # As a tuple: kopf takes "batch/jobs" for the name of a group and would filter nothing.
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = MANAGED_SELECTOR
    settings.scanning.disabled = True  # the chart brings our kinds, and needs no rights on CRDs for it
    return settings


def operator_registry(intake: Intake, streams: Streams, served: Callable[[], Awaitable[None]]) -> kopf.OperatorRegistry:
    """The handlers: listeners, and what they need before.

    Args:
        streams: told when a stream opens.
        served: returns when there is something to watch.
    """
    registry = kopf.OperatorRegistry()
    for kind in PARENTS:
        _listen(registry, kind, intake.parent)
    for kind in WATCHED_CHILDREN:
        _listen(registry, kind, intake.child)

    # kopf looks for what there is to watch once all handlers of this kind are done; a signal ends the wait.
    @kopf.on.startup(registry=registry)
    async def startup(**_: Any) -> None:
        await served()
        streams.begin()

    connect = Login(streams)

    @kopf.on.login(registry=registry)
    async def login(**given: Any) -> kopf.AiohttpSession | None:
        return await connect(**given)

    return registry


class Login:
    """Opens the connections of the streams, as kopf would itself, but such that they tell what they are used for."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._last: kopf.ConnectionInfo | None = None

    async def __call__(self, **given: Any) -> kopf.AiohttpSession | None:
        """A session with the credentials of now; None when kopf asks again as these were refused, which ends the operator."""
        found = kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)
        if found is None or found == self._last:
            return None
        self._last = found
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),  # each stream holds one
            headers=found.as_http_headers(),
            proxy=found.proxy_url,
            trust_env=found.trust_env,
            trace_configs=[self._streams.trace()],
        )
        return kopf.AiohttpSession(
            server=found.server,
            aiohttp_session=session,
            default_namespace=found.default_namespace,
            priority=found.priority,
            expiration=found.expiration,
        )


def _listen(registry: kopf.OperatorRegistry, kind: Kind, listener: Any) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        listener(kind, event["type"], event["object"])
