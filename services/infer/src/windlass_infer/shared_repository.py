"""The model repository of all processes of a pod: what one of them is asked, all do, or none.

    load     each prepares; when all have, each commits. One that does not answer, or dies meanwhile, has not
    unload   each lets go
    first    what a process that starts answers with: when it takes the place of one that died, what the others have loaded

A process that has not begun to answer prepares nothing, so nothing is loaded behind the back of one that is catching up.
Knows no HTTP.
"""

import asyncio
import logging
from dataclasses import asdict, dataclass
from typing import Any

from windlass_core.errors import Unavailable, WindlassError
from windlass_core.processes.answers import PRESENT
from windlass_core.processes.crew import Crew
from windlass_infer.repository import LoadRequest, Repository
from windlass_infer.service import Service
from windlass_infer.serving import TimedModel

# A load reads a large model from a slow store, and measures engines for it.
LOAD_SECONDS = 600.0
# For what the others have loaded. Asked again when nothing comes: the parent may be busy.
HOLDINGS_SECONDS = 0.5
# Before what the others have loaded is tried again, when it cannot be read now.
AGAIN_SECONDS = 5.0
# Questions to the processes of a pod.
PREPARE, COMMIT, ABORT, UNLOAD = "repository.prepare", "repository.commit", "repository.abort", "repository.unload"
HOLDINGS = "repository.holdings"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holding:
    """A version that a process has loaded; whether it answers for its name by default."""

    request: LoadRequest
    current: bool


class SharedRepository:
    """One process's part of it. Used on the event loop."""

    def __init__(self, crew: Crew, repository: Repository, service: Service) -> None:
        self._crew = crew
        self._repository = repository
        self._service = service
        self._turn = asyncio.Lock()
        self._unloaded: list[tuple[str, int | None]] = []  # while this process was starting
        crew.answer(PREPARE, self._prepare)
        crew.answer(COMMIT, repository.commit)
        crew.answer(ABORT, repository.abort)
        crew.answer(UNLOAD, self._unload)
        crew.answer(HOLDINGS, lambda _: self._holdings())

    async def load(self, request: LoadRequest) -> None:
        """Let a version answer in all processes, or in none.

        Raises:
            WindlassError: as `Repository.prepare`.
            Unavailable: a process did not answer, or they read different versions as the newest.
        """
        me = self._crew.number
        async with self._turn:
            committed = [False]
            # Again, when a process has begun anew between its word and ours; those that have the version do nothing then.
            while not all(committed):
                error = await self._why_not_prepared(me, request)
                if error is not None:
                    await self._ask(ABORT, me)
                    raise error
                committed = await self._ask(COMMIT, me)

    async def unload(self, name: str, version: int | None) -> None:
        """Let a model or a version go in all processes. Raises NotFound and Conflict."""
        async with self._turn:
            answers = await self._ask(UNLOAD, [name, version])
            if all(answers):
                raise _error(answers[0]) if answers else _unanswered()

    async def first(self, model: TimedModel) -> list[TimedModel]:
        """What this process begins to answer with.

        Args:
            model: of the spec.

        Returns:
            That model alone; when others have begun already, what they have, the versions that answer by default last.
        """
        while True:
            try:
                holdings = await self._of_others()
                if holdings is None:
                    return [model]
                models = await self._read(holdings, model)
            except TimeoutError:
                continue
            except WindlassError as error:
                log.warning("what the other processes have loaded is not here yet", extra={"error": error.message})
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            kept = [one for one in models if not self._was_unloaded(one)]
            await _close([one for one in models if self._was_unloaded(one)])
            if not any(one is model for one in models):
                await _close([model])
            return kept

    async def _why_not_prepared(self, me: int, request: LoadRequest) -> WindlassError | None:
        present = await self._ask(PRESENT)
        answers = await self._ask(PREPARE, [me, asdict(request)], seconds=LOAD_SECONDS)
        for answer in answers:
            if "message" in answer:
                return _error(answer)
        if len(answers) < max(len(present), 1):
            return _unanswered()
        if len({answer["version"] for answer in answers}) > 1:
            return Unavailable("a version was published while the newest was being loaded; nothing was changed, try again")
        return None

    async def _ask(self, topic: str, document: Any = None, **options: float) -> list[Any]:
        try:
            answers: list[Any] = await self._crew.ask(topic, document, **options)
        except TimeoutError:
            return []
        return answers

    async def _prepare(self, asked: list[Any]) -> dict[str, Any]:
        by, document = asked
        try:
            return {"version": await self._repository.prepare(LoadRequest(**document), by)}
        except WindlassError as error:
            return _document(error)

    def _unload(self, asked: list[Any]) -> dict[str, Any]:
        if not self._service.begun:
            self._unloaded.append((asked[0], asked[1]))
        try:
            self._repository.unload(*asked)
        except WindlassError as error:
            return _document(error)
        return {}

    def _holdings(self) -> list[dict[str, Any]] | None:
        """What this process has loaded, what answers by default last; None while it is starting."""
        if not self._service.begun:
            return None
        holdings = []
        for model in self._service.table:
            for serving in (*model.kept.values(), *([model.current] if model.current else [])):
                version = serving.version
                request = LoadRequest(version.name, version.model, version.number, version.digest)
                holdings.append(asdict(Holding(request, serving is model.current)))
        return holdings

    async def _of_others(self) -> list[Holding] | None:
        """What another process has that has begun to answer; None when there is none. Raises TimeoutError."""
        answers = await self._crew.ask(HOLDINGS, seconds=HOLDINGS_SECONDS)
        begun = next((answer for answer in answers if answer is not None), None)
        if begun is None:
            return None
        return [Holding(LoadRequest(**holding["request"]), holding["current"]) for holding in begun]

    async def _read(self, holdings: list[Holding], model: TimedModel) -> list[TimedModel]:
        """What others hold. Versions that are kept for a way back, and cannot be read, are left out; raises for the others."""
        version = model.version
        own = LoadRequest(version.name, version.model, version.number, version.digest)
        models: list[TimedModel] = []
        try:
            for holding in holdings:
                try:
                    models.append(model if holding.request == own else await self._repository.read(holding.request))
                except WindlassError as error:
                    if holding.current:
                        raise
                    log.warning("a version that is kept is not here", extra={"error": error.message})
        except BaseException:
            await _close([one for one in models if one is not model])
            raise
        return models

    def _was_unloaded(self, model: TimedModel) -> bool:
        return any(name == model.version.name and version in (None, model.version.number) for name, version in self._unloaded)


async def _close(models: list[TimedModel]) -> None:
    for model in models:
        await asyncio.to_thread(model.close)


def _unanswered() -> Unavailable:
    return Unavailable("a process of this pod did not answer, or was starting; nothing was changed, try again")


def _document(error: WindlassError) -> dict[str, Any]:
    """An error on its way from one process to another."""
    return {"status": error.http_status, "reason": error.reason, "message": error.message}


def _error(document: dict[str, Any]) -> WindlassError:
    error = WindlassError(document["message"], reason=document["reason"])
    error.http_status = document["status"]
    return error
