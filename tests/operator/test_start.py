"""The operator's start: it waits for what it needs, is ready when all is watched and not before, and ends when told to.

Beside the real API server stands one in memory, because only that one can be made to refuse a single watch.
"""

import asyncio
import json
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import builders as b
import pytest
import yaml
from control_plane import ControlPlane, control_plane
from operator_process import OperatorProcess, Team, eventually, operator_process
from virtual_time import run

from windlass_operator.api import DATASET, MODEL, PARENTS, POD, WATCHED_CHILDREN, Busy, Kind, Manifest, Refused
from windlass_operator.handlers import Login, operator_settings
from windlass_operator.served import wait_until_served
from windlass_operator.streams import Streams

CRDS = Path(__file__).parents[2] / "charts/windlass/files/crds"
KINDS = (*PARENTS, *WATCHED_CHILDREN)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace")  # kopf waits without a word until a server has it


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as made:
        yield made


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator[OperatorProcess]:
    with operator_process(plane, tmp_path) as made:
        yield made


def without_crds(operator: OperatorProcess) -> None:
    """Begin it, and see it wait."""
    operator.launch()
    eventually(lambda: operator.readiness()[0] == 503, "the probe answers", operator.log)
    eventually(lambda: "does not serve datasets" in operator.log(), "it says what is missing", operator.log)
    assert operator.readiness()[0] == 503


def test_without_crds_it_is_not_ready_says_so_and_ends_when_told_to(operator: OperatorProcess) -> None:
    without_crds(operator)
    code, log = operator.end(signal.SIGTERM)
    assert code == 0
    assert log.count("are the CRDs installed?") == 1


def test_crds_made_after_it_began_are_enough(plane: ControlPlane, operator: OperatorProcess) -> None:
    without_crds(operator)
    plane.kubectl("apply", "--server-side", "-f", str(CRDS))
    eventually(operator.is_ready, "the operator is ready", operator.log)
    team = Team(plane, "late")
    team.apply(b.dataset())
    team.pods("dataset", "digits", 1)


@dataclass
class Api:
    """An API server without objects.

    Attributes:
        refusals: what a watch of a path is answered with.
        watched: paths whose watch was asked for.
    """

    refusals: dict[str, int] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def document(self, path: str) -> Manifest:
        """Discovery, or an empty list."""
        groups = {(kind.group, kind.version) for kind in KINDS}
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            versions = {group: {"version": version, "groupVersion": f"{group}/{version}"} for group, version in groups if group}
            return {"groups": [{"name": name, "versions": [one], "preferredVersion": one} for name, one in versions.items()]}
        verbs = ["list", "watch", "patch"]
        found = [
            {"name": kind.plural, "kind": kind.name, "singularName": "", "namespaced": True, "verbs": verbs}
            for kind in (*KINDS, NAMESPACE)
            if path == kind.path(None).removesuffix(f"/{kind.plural}")
        ]
        return {"resources": found} if found else {"items": [], "metadata": {"resourceVersion": "1"}}


def kubeconfig(folder: Path, url: str, token: str) -> Path:
    """Leads to a server."""
    named = {"name": "test"}
    content = {
        "clusters": [{**named, "cluster": {"server": url}}],
        "users": [{**named, "user": {"token": token}}],
        "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


@contextmanager
def serving(api: Api, folder: Path) -> Iterator[ControlPlane]:
    """The server on the loopback, and a kubeconfig that leads to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            watch = "watch" in parse_qs(target.query)
            if watch:
                api.watched.add(target.path)
            status = api.refusals.get(target.path, 200) if watch else 200
            body = b"" if watch else json.dumps(api.document(target.path)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if not watch or status != 200:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
            if watch and status == 200:
                api.over.wait()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield ControlPlane(url, kubeconfig(folder, url, "test"))
        finally:
            api.over.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("kind", [MODEL, POD], ids=["of our own kinds", "of the children"])
def test_it_is_not_ready_before_the_last_watch_is_open(kind: Kind, tmp_path: Path) -> None:
    api = Api(refusals={kind.path(None): 429})
    with serving(api, tmp_path) as fake, operator_process(fake, tmp_path) as operator:
        operator.launch()
        awaited = (503, f"waiting for the watch streams of {kind.plural}")
        eventually(lambda: operator.readiness() == awaited, "all others are open", operator.log)
        eventually(lambda: api.watched == {one.path(None) for one in KINDS}, "the last was asked for too", operator.log)
        assert operator.readiness() == awaited
        api.refusals.clear()
        eventually(operator.is_ready, "the operator is ready", operator.log)


def test_credentials_are_used_until_they_are_refused_and_then_only_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> list[str | None]:
        login, tokens = Login(Streams((), ())), []
        for token in ("one", "one", "two"):
            monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1", token)))
            made = await login(settings=operator_settings(), logger=logging.getLogger())
            tokens.append(made and made.aiohttp_session.headers["Authorization"])
            if made:
                await made.aiohttp_session.close()
        return tokens

    assert asyncio.run(play()) == ["Bearer one", None, "Bearer two"]


def test_a_watch_that_is_refused_is_asked_for_again_every_other_second_for_a_minute() -> None:
    rests = operator_settings().networking.error_backoffs
    assert isinstance(rests, tuple)
    assert (max(rests), sum(rests)) == (2.0, 60.0)


class Serving:
    """An API server that answers differently from time to time.

    Args:
        served: the plurals that it serves by and by; an error is raised.
    """

    def __init__(self, *served: Any) -> None:
        self._served = list(served)
        self.listed: list[tuple[Kind, str | None]] = []

    async def served(self, *_: str) -> frozenset[str]:
        now = self._served.pop(0)
        if isinstance(now, Exception):
            raise now
        return frozenset(now)

    async def list(self, kind: Kind, namespace: str | None, **_: Any) -> list[Manifest]:
        self.listed.append((kind, namespace))
        return []


ALL = [kind.plural for kind in PARENTS]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        pytest.param([ALL], [], id="all is there"),
        pytest.param([[], [], ALL], ["serve datasets, inferenceservices, models, trainingjobs of"], id="there is no CRD yet"),
        pytest.param([ALL[1:], ALL], ["serve datasets of"], id="one CRD is missing"),
        pytest.param([Busy("no answer"), Busy("no answer"), ALL], ["no answer"], id="nobody answers"),
        pytest.param([Refused("forbidden", status=403), [], ALL], ["forbidden", "serve"], id="the rights come later"),
    ],
)
def test_it_says_once_what_it_waits_for_when(answers: list[Any], told: list[str], caplog: pytest.LogCaptureFixture) -> None:
    server = Serving(*answers)
    run(wait_until_served(server, ("a", "b")))
    assert [text for text in told if not any(text in record.getMessage() for record in caplog.records)] == []
    assert len(caplog.records) == len(told)
    assert server.listed == [(kind, namespace) for kind in PARENTS for namespace in ("a", "b")]


def test_it_asks_every_other_second_at_most_however_long_it_takes() -> None:
    class Never(Serving):
        asked = 0

        async def served(self, *_: str) -> frozenset[str]:
            self.asked += 1
            return frozenset() if self.asked <= 1000 else frozenset(ALL)

    server = Never()
    run(wait_until_served(server, ()))
    assert server.asked == 1001
    assert server.listed[0] == (DATASET, None)
