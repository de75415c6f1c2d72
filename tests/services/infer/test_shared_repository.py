"""A pod of several processes: a version changes in all of them or in none; one that begins anew has what the others have."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from windlass_core.errors import BadData, Unavailable, WindlassError
from windlass_core.processes.crew import Crew
from windlass_infer.repository import LoadRequest
from windlass_infer.shared_repository import COMMIT, PREPARE, SharedRepository

TOKEN = "a-token-for-tests-only"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
GOOD = {"instances": [[1, 2, 9]]}
PROCESSES = 2
REQUEST = LoadRequest("service", "penguins", 2, "")


class LinkedCrew(Crew):
    """One of several crews in this process; a question goes to all of them, and those in `silent` do not answer."""

    def __init__(self, number: int, crews: list["LinkedCrew"]) -> None:
        super().__init__()
        self.number = number
        self.silent: set[str] = set()
        self.crews = crews
        crews.append(self)

    async def ask(self, topic: str, document: Any = None, *, seconds: float = 5.0) -> Any:  # noqa: ARG002  # as Crew
        asked = [crew for crew in self.crews if topic not in crew.silent]
        return list(await asyncio.gather(*(crew._own(topic, document) for crew in asked)))


@dataclass
class StubRepository:
    """What one process was told, and what it has."""

    newest: int = 2
    error: WindlassError | None = None
    gate: asyncio.Event | None = None
    prepared: dict[int, int] = field(default_factory=dict)
    current: int = 1
    lost: int = 0  # as if it began anew so many times before the word to commit

    async def prepare(self, request: LoadRequest, by: int) -> int:
        if self.gate is not None:
            await self.gate.wait()
        if self.error:
            raise self.error
        self.prepared[by] = request.version or self.newest
        return self.prepared[by]

    def commit(self, by: int) -> bool:
        version = self.prepared.pop(by, None)
        if self.lost:
            self.lost -= 1
            return False
        self.current = version or self.current
        return version is not None

    async def abort(self, by: int) -> None:
        self.prepared.pop(by, None)


class Pod:
    """Processes that share their repositories."""

    def __init__(self) -> None:
        crews: list[LinkedCrew] = []
        self.crews = [LinkedCrew(number, crews) for number in range(PROCESSES)]
        self.processes = [StubRepository() for _ in range(PROCESSES)]
        self.shared = [SharedRepository(*pair, None) for pair in zip(self.crews, self.processes, strict=True)]  # type: ignore[arg-type]

    @property
    def current(self) -> list[int]:
        return [process.current for process in self.processes]


def run(test: Callable[[Pod], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test(Pod()), 10)

    asyncio.run(whole())


def dies_meanwhile(pod: Pod) -> None:
    pod.crews[1].silent = {PREPARE}


def fails(pod: Pod) -> None:
    pod.processes[1].error = BadData("no program")


def reads_another_newest(pod: Pod) -> None:
    pod.processes[1].newest = 3


@pytest.mark.parametrize(
    ("trouble", "request_", "error"),
    [
        (dies_meanwhile, REQUEST, Unavailable),
        (fails, REQUEST, WindlassError),
        (reads_another_newest, LoadRequest("service", "penguins", 0, ""), Unavailable),
    ],
    ids=["a process does not answer", "a process cannot load it", "a process finds a newer one"],
)
def test_what_not_all_can_do_none_does(trouble: Callable[[Pod], None], request_: LoadRequest, error: type[Exception]) -> None:
    async def test(pod: Pod) -> None:
        trouble(pod)
        with pytest.raises(error):
            await pod.shared[0].load(request_)
        assert pod.current == [1, 1]
        assert [process.prepared for process in pod.processes] == [{}, {}]

    run(test)


def test_what_all_can_do_all_do_and_again_where_one_began_anew_meanwhile() -> None:
    async def test(pod: Pod) -> None:
        pod.processes[1].lost = 2
        await pod.shared[0].load(REQUEST)
        assert pod.current == [2, 2]

    run(test)


def test_a_process_that_dies_before_the_word_to_commit_does_not_keep_the_others() -> None:
    async def test(pod: Pod) -> None:
        pod.crews[1].silent = {COMMIT}
        await pod.shared[0].load(REQUEST)
        assert pod.current == [2, 1]

    run(test)


def test_two_processes_that_are_asked_at_once_leave_all_with_the_same_version() -> None:
    """Each process prepares the two versions in another order."""

    async def test(pod: Pod) -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        for process, gate in zip(pod.processes, gates, strict=True):
            process.gate = gate
        loads: list[Awaitable[None]] = [
            asyncio.create_task(shared.load(LoadRequest("service", "penguins", version, "")))
            for shared, version in zip(pod.shared, (2, 3), strict=True)
        ]
        await asyncio.sleep(0)
        gates[1].set()
        await asyncio.sleep(0)
        gates[0].set()
        await asyncio.gather(*loads)
        assert len(set(pod.current)) == 1, pod.current

    run(test)


def workers(server: Any) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def pod(shelf: Any, examples: dict[str, Any], serve: Callable[..., Any]) -> Iterator[Any]:
    """A server of two processes on version 1, with versions 1 and 2 in the store."""
    first = shelf.publish(examples["numbers"])
    shelf.publish(examples["numbers"], owner="uid-2")
    spec = shelf.spec(first).model_copy(update={"processes": PROCESSES})
    with serve(spec, shelf.environment, WINDLASS_REPOSITORY_TOKEN=TOKEN) as server:
        yield server


def ask_all(server: Any, times: int = 1, name: str = "service") -> Counter[str]:
    """What so many connections at once are told, some of them by each process."""
    outcomes: Counter[str] = Counter()
    with ExitStack() as opened:
        for client in [opened.enter_context(server.client()) for _ in range(4 * PROCESSES)]:
            for _ in range(times):
                response = client.post(f"/v1/models/{name}:predict", json=GOOD)
                outcomes[f"{response.status_code} {response.headers.get('x-model-version')}"] += 1
    return outcomes


def load(server: Any, name: str, version: int) -> bool:
    """Whether it is loaded in all processes; not while one of them is starting."""
    with server.client(headers=AUTHORIZED) as client:
        asked = {"version": version, "model": "penguins"}
        status = client.post(f"/v2/repository/models/{name}/load", json={"parameters": asked}).status_code
    assert status in (200, 503)
    return bool(status == 200)


@pytest.mark.timeout(180)
def test_a_process_that_begins_anew_answers_with_what_the_others_have_loaded(pod: Any, wait: Callable[..., None]) -> None:
    wait(lambda: load(pod, "service", 2), "version 2 is loaded in all processes")
    for round_ in ("first", "second"):
        before = workers(pod)
        os.kill(before[0], signal.SIGKILL)
        wait(lambda before=before: len(workers(pod)) == PROCESSES and before[0] not in workers(pod), "a new process")
        everything: Counter[str] = Counter()

        def begun(round_: str = round_, everything: Counter[str] = everything) -> bool:
            everything.update(ask_all(pod))
            return load(pod, round_, 1)

        wait(begun, "the new process has begun: all can load another model")
        assert set(everything) <= {"200 2", "503 None"}, everything
        assert ask_all(pod) == {"200 2": 4 * PROCESSES}
    assert ask_all(pod, name="first") == {"200 1": 4 * PROCESSES}, "a model beside it is there again too"
    assert load(pod, "service", 1)
    assert ask_all(pod) == {"200 1": 4 * PROCESSES}, "and the way back"


@pytest.mark.timeout(180)
def test_statistics_are_those_of_all_processes_together(pod: Any) -> None:
    connections = 4 * PROCESSES
    assert ask_all(pod, times=5) == {"200 1": connections * 5}
    with pod.client() as client:
        (statistics,) = client.get("/v2/models/service/stats").json()["model_stats"]
        assert client.get("/v2/models/stats").json()["model_stats"] == [statistics]
        metrics = client.get("/metrics").text
    assert statistics["inference_count"] == connections * 5
    assert statistics["inference_stats"]["success"]["count"] == connections * 5
    assert sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in statistics["batch_stats"]) == connections * 5
    assert f'windlass_infer_request_seconds_count{{name="service",version="1"}} {connections * 5}.0' in metrics
