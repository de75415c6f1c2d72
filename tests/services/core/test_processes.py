"""Several processes serve as one pod: connections spread evenly, questions reach all, and those that die come back."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import crew_pod
import httpx
import pytest
import waiting
from children import bound_to_us, free_port

from windlass_core.processes.deaths import MAX_DEATHS

pytestmark = pytest.mark.timeout(300)
COUNT = 2
LOOPBACK = "127.0.0.1"
# timeoutSeconds of the probes of a serving pod.
KUBELET_WAITS_SECONDS = 5
# Beside other work a process takes a quarter of a minute to start, and one test starts seven; no test waits for it to pass.
START_SECONDS = 150.0


until = partial(waiting.until, seconds=START_SECONDS)


class Client(HTTPConnection):
    """A kept-alive connection."""

    def who(self) -> dict[str, int]:
        """The process at the other end."""
        self.request("GET", "/who")
        found: dict[str, int] = json.loads(self.getresponse().read())
        return found


class Pod:
    """The pod as a process."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.log = folder / "log"
        self.end_file = folder / "end"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                bound_to_us([sys.executable, crew_pod.__file__, str(self.port), str(COUNT)]),
                stderr=output,
                env=os.environ | {crew_pod.END_FILE: str(self.end_file)} | environment,
            )

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def get(self, path: str) -> httpx.Response:
        """On a connection of its own."""
        return httpx.get(self.url + path, timeout=START_SECONDS)

    @contextmanager
    def clients(self, number: int) -> Iterator[list["Client"]]:
        """So many kept-alive connections."""
        with ExitStack() as opened:
            yield [opened.enter_context(closing(Client(LOOPBACK, self.port, timeout=START_SECONDS))) for _ in range(number)]

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def pids(self) -> dict[int, int]:
        return {member["number"]: member["pid"] for member in self.get("/all").json()}

    def open_files(self) -> int:
        """Of the parent."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def new_pod(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    with ExitStack() as pods:

        def start(**environment: str) -> Pod:
            pod = Pod(tmp_path, **environment)
            pods.callback(pod.end)
            until(pod.ready, "the pod is ready")
            return pod

        yield start


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    pod = Pod(tmp_path_factory.mktemp("pod"))
    until(pod.ready, "the pod is ready")
    yield pod
    pod.end()


def test_connections_are_spread_evenly_however_many_there_are(pod: Pod) -> None:
    for connections in (2, 3, 8, 16, 51):
        with pod.clients(connections) as clients:
            spread = Counter(client.who()["number"] for client in clients)
        assert max(spread.values()) - min(spread.values()) <= 1
        assert len(spread) == COUNT


def test_a_process_whose_connections_have_closed_is_given_the_next(pod: Pod) -> None:
    def next_four() -> list[int]:
        with pod.clients(4) as new:
            return [client.who()["number"] for client in new]

    with pod.clients(8) as clients:
        numbers = [client.who()["number"] for client in clients]
        for client, number in zip(clients, numbers, strict=True):
            if number == 0:
                client.close()
        until(lambda: next_four() == [0, 0, 0, 0], "the parent has heard that they are closed")


def test_the_short_way_is_there_in_every_process(pod: Pod) -> None:
    answers = {httpx.post(f"{pod.url}/number", timeout=START_SECONDS).text for _ in range(2 * COUNT)}
    assert answers == {"0", "1"}


def test_connections_leave_a_process_that_goes_on_refusing_and_lose_nothing(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()

    def asked(client: Client) -> tuple[int, bytes]:
        client.request("POST", "/refused-by-first")
        answer = client.getresponse()
        return answer.status, answer.read()

    with pod.clients(6) as clients:
        for client in clients:
            client.connect()
        ports = [client.sock.getsockname() for client in clients]
        assert Counter(asked(client) for client in clients) == {(429, b"0"): 3, (200, b"1"): 3}
        until(lambda: [asked(client)[0] for client in clients].count(200) >= 4, "some have gone to the other")
        assert [client.sock.getsockname() for client in clients] == ports, "and none was opened anew"
    moved = re.search(r"^windlass_connections_moved_total (\d+)", pod.get("/metrics").text, re.MULTILINE)
    assert moved is not None
    assert int(moved[1]) >= 1
    until(lambda: {pod.get("/who").json()["number"] for _ in range(4)} == {0, 1}, "both are given new ones again")


def test_a_question_reaches_all_processes(pod: Pod) -> None:
    assert sorted(pod.pids()) == [0, 1]
    assert len(set(pod.pids().values())) == COUNT


def test_a_process_that_cannot_answer_is_left_out(pod: Pod) -> None:
    assert pod.get("/raise/0").json() == [1]
    assert pod.get("/raise/1").json() == [-1]


def test_metrics_are_those_of_all_processes_whichever_is_asked(pod: Pod) -> None:
    def answered() -> float:
        lines = pod.get("/metrics").text.splitlines()
        name = 'windlass_http_request_duration_seconds_count{method="GET",route="/slow",status="200"}'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    before = answered()
    for _ in range(6):
        assert pod.get("/slow?seconds=0").status_code == 200
    assert [answered() for _ in range(4)] == [before + 6] * 4
    assert "windlass_processes 2.0" in pod.get("/metrics").text


def test_a_killed_process_costs_its_own_connections_and_comes_back(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    before = pod.pids()
    with pod.clients(8) as clients:
        owners = [client.who()["number"] for client in clients]
        os.kill(before[1], signal.SIGKILL)
        for client, owner in zip(clients, owners, strict=True):
            if owner == 0:
                assert client.who()["pid"] == before[0]
        until(lambda: len(pod.pids()) == COUNT, "the process is back")
    after = pod.pids()
    assert (after[0], after[1] != before[1]) == (before[0], True)
    until(pod.ready, "the pod is ready")
    assert "windlass_process_deaths_total 1.0" in pod.get("/metrics").text
    # What the dead process counted is still there.
    before_count = 'windlass_http_request_duration_seconds_count{method="GET",route="/metrics",status="200"}'
    assert before_count in pod.get("/metrics").text


def test_a_process_that_hangs_is_replaced_and_the_log_says_why(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod(**{crew_pod.HANG: "8"})
    before = pod.pids()
    os.kill(before[0], signal.SIGSTOP)
    until(lambda: not Path(f"/proc/{before[0]}").exists(), "it is ended")
    until(lambda: len(pod.pids()) == COUNT, "another has taken its place")
    assert pod.pids()[1] == before[1]
    assert "process 0 ended because it hung for 9 s" in pod.log.read_text()


def test_a_silent_process_is_given_no_connections_health_does_not_wait_for_it_and_it_goes_on_when_it_wakes(
    new_pod: Callable[..., Pod],
) -> None:
    pod = new_pod()
    before = pod.pids()
    os.kill(before[0], signal.SIGSTOP)
    until(lambda: "process 0 is silent" in pod.log.read_text(), "the parent has noticed")
    with pod.clients(8) as clients:
        assert {client.who()["number"] for client in clients} == {1}
    for path in ("/healthz", "/readyz", "/metrics"):
        started = time.monotonic()
        assert pod.get(path).status_code == 200
        assert time.monotonic() - started < KUBELET_WAITS_SECONDS
    os.kill(before[0], signal.SIGCONT)
    until(lambda: pod.get("/who").json()["number"] == 0, "it is given connections again")
    assert pod.pids() == before


def test_a_process_that_is_not_ready_is_given_no_connections_while_another_is(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()

    def numbers() -> set[int]:
        with pod.clients(4) as clients:
            return {client.who()["number"] for client in clients}

    httpx.post(f"{pod.url}/not-ready/0", params={"why": "no model"}, timeout=START_SECONDS)
    until(lambda: numbers() == {1}, "the other is given all")
    httpx.post(f"{pod.url}/not-ready/0", timeout=START_SECONDS)
    until(lambda: numbers() == {0, 1}, "it is given its share again")


def test_a_connection_waits_for_a_process_while_none_answers(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    before = pod.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(f"process {number} is silent" in pod.log.read_text() for number in before), "the parent has noticed")
    with pod.clients(4) as clients:
        for client in clients:
            client.request("GET", "/who")
        os.kill(before[0], signal.SIGKILL)
        os.kill(before[1], signal.SIGCONT)
        assert {client.getresponse().status for client in clients} == {200}


def test_connections_on_their_way_to_a_process_that_is_killed_are_answered_by_another(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    before, open_before = pod.pids(), pod.open_files()
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    with pod.clients(8) as clients:
        for client in clients:
            client.request("GET", "/who")
        # On a machine that is so busy that the parent has noticed first, they wait before it.
        until(lambda: pod.open_files() >= open_before + 8 or "is silent" in pod.log.read_text(), "they are handed over")
        os.kill(before[0], signal.SIGKILL)
        os.kill(before[1], signal.SIGCONT)
        assert [client.getresponse().status for client in clients] == [200] * 8
    until(lambda: len(pod.pids()) == COUNT and pod.open_files() <= open_before, "the parent keeps none of them")


def test_a_pod_is_ready_first_when_all_are_and_later_while_one_is(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    httpx.post(f"{pod.url}/not-ready/0", params={"why": "no model"}, timeout=START_SECONDS)
    assert pod.get("/readyz").status_code == 200
    httpx.post(f"{pod.url}/not-ready/1", params={"why": "no model"}, timeout=START_SECONDS)
    assert (pod.get("/readyz").status_code, pod.get("/readyz").json()["detail"]) == (503, "no model")


def test_sigterm_ends_all_after_what_is_in_flight(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    with pod.clients(4) as busy, pod.clients(4) as idle:
        for client in busy:
            client.request("GET", "/slow?seconds=1.5")
        assert {client.who()["number"] for client in idle} == {0, 1}
        pod.process.terminate()
        for client in idle:
            until(lambda client=client: leaving(client), "connections are told to leave")
        assert {client.getresponse().status for client in busy} == {200}
    assert pod.process.wait(START_SECONDS) == 0


def leaving(client: Client) -> bool:
    client.request("GET", "/who")
    answer = client.getresponse()
    answer.read()
    return answer.status == 200 and answer.headers["connection"] == "close"


def test_processes_end_when_their_parent_is_killed(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    pids = pod.pids()
    pod.process.kill()
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and _runs(pid) for pid in pids.values()), "they have ended")


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_pod_whose_processes_keep_dying_ends_and_says_why(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    pids = pod.pids()
    pod.end_file.write_text("1")
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: pod.process.poll() is not None, "the pod ends")
    assert pod.process.returncode == 1
    assert f"ProcessDied {MAX_DEATHS} serving processes ended, none later than 300 s after the one" in pod.log.read_text()
    assert "the last with code 1;" in pod.log.read_text()


def test_a_pod_that_is_told_to_stop_while_no_process_runs_ends(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    pod.end_file.write_text("1")
    for pid in pod.pids().values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: pod.log.read_text().count("ended with code 1") >= 3, "the next start waits for a second")
    pod.process.terminate()
    until(lambda: pod.process.poll() is not None, "the pod ends")
    assert "ProcessDied" not in pod.log.read_text()


def test_a_final_code_ends_the_pod_with_it(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod()
    pids = pod.pids()
    pod.end_file.write_text("41")
    os.kill(pids[0], signal.SIGKILL)
    assert pod.process.wait(START_SECONDS) == 41
