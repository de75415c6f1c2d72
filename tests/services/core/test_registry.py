"""A version is numbered once, visible when whole, and never changes. The same table for a folder and for S3."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from windlass_core.contracts import VersionReference
from windlass_core.errors import DigestMismatch, NotFound
from windlass_core.manifests import ModelContent, TensorDescription
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.resources import TrainingJobSpec
from windlass_core.store import Store

SPEC = TrainingJobSpec.model_validate({"dataset": {"name": "digits"}, "model": {"name": "digits", "recipe": "mlp"}})
CONTENT = ModelContent(
    task="classification",
    recipe="mlp",
    label="digit",
    classes=[0, 1],
    inputs=[TensorDescription(name="features", shape=[-1, 64])],
    outputs=[TensorDescription(name="probabilities", shape=[-1, 2])],
    formats={"onnx": "model.onnx"},
    metrics={"accuracy": 0.97},
    parameters=130,
    step=12,
    dataset=VersionReference(name="digits", version=1, uri="store://datasets/digits/1", digest="sha256:00"),
    job="digits",
    job_uid="uid-1",
    spec=SPEC.to_json(),
)


@pytest.fixture
def store(store_environment: dict[str, str]) -> Store:
    return Store.open("team", store_environment)


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store, "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "model.onnx").write_bytes(b"a program")
    (tmp_path / "version" / "nested").mkdir()
    (tmp_path / "version" / "nested" / "extra.json").write_bytes(b"{}")
    return tmp_path / "version"


def publish(registry: Registry, folder: Path, owner: str = "uid-1") -> PublishedVersion:
    return registry.publish("digits", registry.claim("digits", owner), owner=owner, folder=folder, content=CONTENT)


def test_the_same_owner_gets_its_number_again_and_another_owner_the_next(registry: Registry) -> None:
    assert [registry.claim("digits", owner) for owner in ("uid-1", "uid-2", "uid-1", "uid-3")] == [1, 2, 1, 3]


def test_eight_publishers_at_once_get_eight_numbers(registry: Registry) -> None:
    start = threading.Barrier(8)
    numbers: list[int] = []

    def claim(owner: str) -> None:
        start.wait()
        numbers.append(registry.claim("digits", owner))

    threads = [threading.Thread(target=claim, args=(f"uid-{index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def test_a_claimed_version_is_not_visible_until_its_manifest_is_written(registry: Registry, folder: Path) -> None:
    version = registry.claim("digits", "uid-1")
    assert registry.versions("digits") == []
    assert registry.find("digits", "uid-1") is None
    with pytest.raises(NotFound):
        registry.open("digits", version)
    publish(registry, folder)
    assert registry.versions("digits") == [1]


def test_the_newest_versions_are_listed_without_a_look_at_the_older_ones(
    registry: Registry, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in ("uid-1", "uid-2", "uid-3"):
        publish(registry, folder, owner)
    registry.claim("digits", "uid-4")
    assert registry.versions("digits") == [1, 2, 3]
    asked: list[str] = []
    head = store.head
    monkeypatch.setattr(store, "head", lambda path: asked.append(path) or head(path))
    assert registry.versions("digits", newest=2) == [2, 3]
    assert asked == [f"models/digits/{version}/manifest.json" for version in (4, 3, 2)]


def test_a_published_version_is_read_back_with_all_its_files(registry: Registry, folder: Path, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    reference = publish(registry, folder).reference
    version = registry.open("digits", reference.version, reference.digest)
    assert version.read("model.onnx") == b"a program"
    assert version.download("nested/extra.json", tmp_path / "copy").read_bytes() == b"{}"
    assert version.manifest.model == CONTENT
    assert version.manifest.size == len(b"a program") + len(b"{}")
    assert before <= version.manifest.created_at <= datetime.now(UTC)
    assert reference.uri == "store://models/digits/1"


def test_publishing_again_gives_what_was_published_first(registry: Registry, folder: Path) -> None:
    first = publish(registry, folder)
    (folder / "model.onnx").write_bytes(b"another program")
    second = publish(registry, folder)
    assert second.reference == first.reference
    assert second.read("model.onnx") == b"a program"
    found = registry.find("digits", "uid-1")
    assert found is not None
    assert found.reference == first.reference


def test_files_of_a_try_that_died_are_swept_when_the_next_one_publishes(registry: Registry, store: Store, folder: Path) -> None:
    version = registry.claim("digits", "uid-1")
    store.write(f"models/digits/{version}/files/dead/model.onnx", b"half")
    publish(registry, folder)
    assert not [entry.path for entry in store.list(f"models/digits/{version}") if "dead" in entry.path]


def test_a_file_changed_in_the_store_is_refused_and_leaves_no_copy(
    registry: Registry, store: Store, folder: Path, tmp_path: Path
) -> None:
    version = publish(registry, folder)
    file = version.manifest.file("model.onnx")
    assert file is not None
    store.write(f"models/digits/1/{file.location}", b"tampered")
    with pytest.raises(DigestMismatch, match=r"model.onnx of store://models/digits/1"):
        version.read("model.onnx")
    with pytest.raises(DigestMismatch):
        version.download("model.onnx", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_changed_manifest_is_refused_by_whoever_knows_its_digest(registry: Registry, store: Store, folder: Path) -> None:
    reference = publish(registry, folder).reference
    data = store.read("models/digits/1/manifest.json")
    store.write("models/digits/1/manifest.json", data.replace(b"0.97", b"0.99"))
    with pytest.raises(DigestMismatch, match="the manifest of store://models/digits/1"):
        registry.open("digits", 1, reference.digest)


def test_a_file_that_the_version_never_had_is_not_found(registry: Registry, folder: Path) -> None:
    with pytest.raises(NotFound, match="has no file absent"):
        publish(registry, folder).read("absent")
