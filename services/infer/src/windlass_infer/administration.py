"""What both doors, HTTP and gRPC, offer beside inference: statistics of all processes, and the model repository extension.

Knows no messages: documents are those of the protocol in JSON.
"""

from typing import Any

from windlass_core.errors import NotFound, Unavailable
from windlass_core.processes.crew import Crew
from windlass_infer import describing
from windlass_infer.protocol import EXTENSIONS
from windlass_infer.repository import LoadRequest, Repository, authorize, unload_version
from windlass_infer.schemas import IndexAnswer
from windlass_infer.service import Service
from windlass_infer.shared_repository import SharedRepository
from windlass_infer.statistics import merged

# The question to the other processes.
STATISTICS = "statistics"


class Administration:
    """Used on the event loop.

    Args:
        service: the models of this process.
        crew: the processes that serve together.
        token: opens the model repository extension; None turns it off.
    """

    def __init__(self, service: Service, crew: Crew, token: str | None) -> None:
        self._service = service
        self._crew = crew
        self._token = token
        self._repository = SharedRepository(crew, Repository(service), service)
        service.begin_with(self._repository.first)
        crew.answer(STATISTICS, lambda asked: self._known_statistics(*asked))

    @property
    def extensions(self) -> list[str]:
        """Names of the protocol's extensions that are on."""
        return [*EXTENSIONS, *(["model_repository"] if self._token else [])]

    async def statistics(self, name: str | None = None, version: str | None = None) -> list[dict[str, Any]]:
        """Of a version, of all versions of a model, or of all. Raises NotFound and Unavailable."""
        describing.statistics_of(self._service, name, version)  # names what is missing
        return merged(await self._crew.ask(STATISTICS, [name, version]))

    def index(self, authorization: str | None, *, ready: bool) -> list[IndexAnswer]:
        """The repository's index; of what is ready alone, where that is asked for. Raises as `authorize`."""
        authorize(self._token, authorization)
        return describing.index(self._service, ready=ready)

    async def load(self, authorization: str | None, name: str, document: Any) -> None:
        """Load a version and let it answer. Raises as `authorize`, `LoadRequest.parse` and `SharedRepository.load`."""
        authorize(self._token, authorization)
        await self._repository.load(LoadRequest.parse(name, document, self._service.spec))

    async def unload(self, authorization: str | None, name: str, document: Any) -> None:
        """Let a model or one of its versions go. Raises as `authorize`, `unload_version` and `SharedRepository.unload`."""
        authorize(self._token, authorization)
        await self._repository.unload(name, unload_version(document))

    def _known_statistics(self, name: str | None, version: str | None) -> list[dict[str, Any]]:
        """Of this process, which may have less than the one that was asked."""
        try:
            return describing.statistics_of(self._service, name, version)
        except (NotFound, Unavailable):
            return []
