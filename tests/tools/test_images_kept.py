"""Which images stay when newer ones come, and that a registry forgets the others and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import image_bare
import image_keep
import image_registry
import pytest
import registry
from console import ClusterError
from image_registry import Reference
from layout import Layout


@pytest.mark.parametrize(
    ("names", "wanted", "old"),
    [
        pytest.param(["a:3", "a:2", "a:1"], set(), [], id="three tags are kept"),
        pytest.param(["a:4", "b:9", "a:3", "a:2", "a:1"], set(), ["a:1"], id="each image is counted for itself"),
        pytest.param(["a:4", "a:3", "a:2", "a:1"], {"a:1"}, [], id="a wanted one stays, however old"),
        pytest.param(["r:5/a:4", "r:5/a:3", "r:5/a:2", "r:5/a:1"], set(), ["r:5/a:1"], id="a registry may have a port"),
    ],
)
def test_old_images_that_the_builder_forgets(names: list[str], wanted: set[str], old: list[str]) -> None:
    assert image_keep.outdated(names, wanted) == old


TORCH, OTHER_TORCH = {"torch": 9}, {"other-torch": 9}


@pytest.mark.parametrize(
    ("sizes", "wanted", "old"),
    [
        pytest.param({"a:2": {"2": 1} | TORCH, "a:1": {"1": 1} | TORCH}, {"a:2"}, [], id="a shared layer counts once"),
        pytest.param({"a:2": TORCH, "a:1": OTHER_TORCH}, {"a:2"}, ["a:1"], id="a second large layer does not fit"),
        pytest.param({"a:2": TORCH, "a:1": OTHER_TORCH}, {"a:1"}, ["a:2"], id="the wanted one goes first, however old it is"),
        pytest.param({"a:2": TORCH, "b:1": OTHER_TORCH}, {"a:2", "b:1"}, [], id="what is wanted stays, fit or not"),
        pytest.param({"a:3": {"3": 1}, "a:2": TORCH, "a:1": {"1": 2}}, {"a:3"}, ["a:1"], id="the newer of two is kept"),
    ],
)
def test_large_images_stay_only_as_far_as_they_fit(sizes: dict[str, dict[str, int]], wanted: set[str], old: list[str]) -> None:
    assert image_keep.too_large(sizes, wanted, limit=11) == old


def test_the_node_drops_what_the_builder_has_forgotten_under_all_its_names_and_nothing_of_others() -> None:
    there = {
        "r/windlass/a:1": "sha256:old", "r/windlass/a@sha256:old": "sha256:old", "sha256:id-of-old": "sha256:old",
        "r/windlass/a:2": "sha256:built", "sha256:id-of-built": "sha256:built",
        "r/windlass/a:3": "sha256:new", "r/windlass/a:0": "sha256:new",
        "docker.io/other:1": "sha256:other", "sha256:id-of-other": "sha256:other",
        "sha256:id-of-nameless": "sha256:nameless",
    }  # fmt: skip
    old = image_bare.superseded(there, ["r/windlass/a:3"], {"r/windlass/a:2"})
    assert old == ["r/windlass/a:1", "r/windlass/a@sha256:old", "sha256:id-of-old", "sha256:id-of-nameless"]


class FakeRegistry(ThreadingHTTPServer):
    """Tags by digest, and what is asked of it; it speaks as much of the distribution protocol as is used here."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        self.digests: dict[str, str] = {}

    def reference(self, tag: str) -> Reference:
        return Reference(f"127.0.0.1:{self.server_port}", "windlass/train", tag)


class RegistryHandler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def answer(self) -> None:
        digests, last = self.server.digests, self.path.rpartition("/")[2]
        status, digest, body = 404, "", {}
        if self.path == "/v2/windlass/train/tags/list":
            status, body = 200, {"tags": list(digests) or None}
        elif self.command == "DELETE" and last in digests.values():
            self.server.digests = {tag: digest for tag, digest in digests.items() if digest != last}
            status = 202
        elif last in digests:
            status, digest, body = 200, digests[last], {"layers": [{"digest": "sha256:layer", "size": 7}]}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Docker-Content-Digest", digest)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_DELETE = answer  # noqa: N815 - the names that the standard library calls

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_registry_tells_tags_and_layers(server: FakeRegistry) -> None:
    here = server.reference("1")
    assert image_registry.tags(here.registry, here.repository) == []
    assert image_registry.layers(here) is None
    server.digests = {"1": "sha256:a"}
    assert image_registry.tags(here.registry, here.repository) == ["1"]
    assert image_registry.layers(here) == {"sha256:layer": 7}


def test_a_registry_forgets_old_tags_but_no_content_that_a_kept_one_names_too(server: FakeRegistry) -> None:
    server.digests = {"1": "sha256:a", "2": "sha256:b", "3": "sha256:b", "4": "sha256:c"}
    old, kept = map(server.reference, ("1", "2", "gone")), map(server.reference, ("3", "4"))
    assert image_registry.forget(old, kept) == 1
    assert server.digests == {"2": "sha256:b", "3": "sha256:b", "4": "sha256:c"}


def test_a_registry_that_does_not_answer_is_a_sentence() -> None:
    with pytest.raises(ClusterError, match="does not answer"):
        image_registry.layers(Reference("127.0.0.1:1", "windlass/train", "1"))


def test_what_a_killed_push_has_left_is_removed_and_images_are_not(tmp_path: Path) -> None:
    where = Layout(cache=tmp_path / "cache", state=tmp_path / "state")
    repository = registry.storage(where) / "docker/registry/v2/repositories/windlass/train"
    upload, tag = repository / "_uploads/5d2f" / "data", repository / "_manifests/tags/1"
    for path in (upload, tag):
        path.parent.mkdir(parents=True)
        path.write_text("")
    registry.drop_partial_uploads(where)
    assert not upload.parent.exists()
    assert tag.exists()
