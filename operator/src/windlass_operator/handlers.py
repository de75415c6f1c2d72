"""What kopf is used for: watch streams, credentials and the life of the process. Each handler passes the event on, no more.

kopf then writes nothing to any object: no annotations, no finalizers.
"""

from typing import Any, cast

import kopf

from windlass_operator.api import PARENTS, WATCHED_CHILDREN, Kind
from windlass_operator.intake import Intake
from windlass_operator.manifests import MANAGED_SELECTOR

# Seconds. kopf's own request timeout is 300; an API server that does not answer in 30 is not going to.
REQUEST_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
# A watch is begun anew this often, which bounds the life of a stream that is silently dead: seconds.
WATCH_SECONDS = 300
LIST_PAGE = 500


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
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + REQUEST_TIMEOUT_SECONDS
    settings.watching.chunk_size = LIST_PAGE
    for kind in WATCHED_CHILDREN:
        # As a tuple: kopf takes "batch/jobs" for the name of a group and would filter nothing.
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = MANAGED_SELECTOR
    settings.scanning.disabled = True  # the chart brings our kinds, and needs no rights on CRDs for it
    return settings


def operator_registry(intake: Intake) -> kopf.OperatorRegistry:
    """The handlers, all of them listeners."""
    registry = kopf.OperatorRegistry()
    for kind in PARENTS:
        _listen(registry, kind, intake.parent)
    for kind in WATCHED_CHILDREN:
        _listen(registry, kind, intake.child)

    @kopf.on.login(registry=registry)
    def login(**given: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)

    return registry


def _listen(registry: kopf.OperatorRegistry, kind: Kind, listener: Any) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        listener(kind, event["type"], event["object"])
