"""How images are built: commands, this machine's settings, what is kept, and what a killed build may leave."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import choose
import following
import image_base
import image_buildah
import image_docker
import image_process
import image_settings
import images
import kind
import minikube
import pytest
from console import ClusterError, Progress
from image_base import Origin
from image_buildah import Build
from image_content import Image
from image_settings import Index
from layout import Layout

TRAIN = Image("train", {"TORCH_PIP_OPTIONS": "--torch-backend cpu"})


def test_docker_builds_with_the_arguments_and_the_commit() -> None:
    assert image_docker.build_command(TRAIN, "windlass/train:1", Path("/c"), "abc") == [
        "docker", "build", "--file", "/c/dockerfiles/train.Dockerfile", "--tag", "windlass/train:1",
        "--build-arg=TORCH_PIP_OPTIONS=--torch-backend cpu", "--build-arg=REVISION=abc", "/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cluster", "commands"),
    [
        pytest.param(kind, [["kind", "load", "docker-image", "--name", "windlass", "a:1", "b:2"]], id="kind takes all at once"),
        pytest.param(
            minikube,
            [
                ["minikube", "image", "load", "--profile", "windlass", "a:1"],
                ["minikube", "image", "load", "--profile", "windlass", "b:2"],
            ],
            id="minikube takes one at a time",
        ),
    ],
)
def test_images_are_brought_to_the_node_of(cluster: choose.Backend, commands: list[list[str]]) -> None:
    assert images.LOAD_COMMANDS[cluster.NAME](["a:1", "b:2"]) == commands


def test_docker_builds_only_what_it_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    there = {"windlass/operator:1"}

    def attempt(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0 if argv[-1] in there else 1)

    monkeypatch.setattr(image_docker, "attempt", attempt)
    monkeypatch.setattr(image_docker, "run", lambda argv, **_: ran.append(argv))
    named = {"windlass/operator:1": Image("operator"), "windlass/infer:2": Image("infer")}
    image_docker.build_and_load(named, Path("/c"), "abc", kind.load_commands(list(named)))
    assert [argv[:2] for argv in ran] == [["docker", "build"], ["kind", "load"]]
    assert "windlass/infer:2" in ran[0]
    assert ran[1][-2:] == list(named)


def test_buildah_sees_secrets_and_mounts_and_stops_at_a_stage() -> None:
    build = Build(
        dockerfile=Path("/c/Dockerfile"),
        context=Path("/c"),
        tag="localhost/tools:1",
        arguments={"BASE": "base:1"},
        secrets={"pip.conf": Path("/s/pip.conf")},
        mounts={Path("/cache/uv"): "/var/cache/uv"},
        stages={"runtime": "localhost/runtime:1"},
        stage="tools",
    )
    assert image_buildah.build_arguments(build) == [
        "build", "--layers", "--force-rm", "--file", "/c/Dockerfile", "--tag", "localhost/tools:1", "--target=tools",
        "--build-arg=BASE=base:1", "--secret=id=pip.conf,src=/s/pip.conf", "--volume=/cache/uv:/var/cache/uv",
        "--build-context=runtime=container-image://localhost/runtime:1", "/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("STEP 1/4: FROM scratch\n", "step 1/4: FROM scratch", id="a step of a single stage"),
        pytest.param("[2/4] STEP 3/8: COPY a b\n", "stage 2/4, step 3/8: COPY a b", id="a step of one of several stages"),
        pytest.param("Copying blob sha256:12\n", "Copying blob sha256:12", id="a layer on its way to the registry"),
        pytest.param("--> Using cache 123\n", "", id="a line that announces nothing"),
    ],
)
def test_progress_of_buildah(line: str, shown: str) -> None:
    assert image_buildah.where(line) == shown


class TestSettings:
    """What a build needs to reach the package index of this machine."""

    @pytest.mark.parametrize(
        ("listed", "environment", "index"),
        [
            pytest.param("", {}, Index(), id="nothing is set"),
            pytest.param("global.index-url='https://a/simple'", {}, Index("https://a/simple"), id="pip's file"),
            pytest.param(
                ":env:.index-url='https://b'\nglobal.index-url='https://a'",
                {},
                Index("https://b"),
                id="a variable wins over a file",
            ),
            pytest.param("", {"PIP_INDEX_URL": "https://b"}, Index("https://b"), id="pip's variable, and no pip to list it"),
            pytest.param("global.index-url='https://a'", {"UV_DEFAULT_INDEX": "https://c"}, Index("https://c"), id="uv's wins"),
            pytest.param(
                "global.extra-index-url='https://a\\nhttps://b'\nglobal.trusted-host='a'",
                {},
                Index("", ("https://a", "https://b"), ("a",)),
                id="lists over several lines",
            ),
            pytest.param("freeze.index-url='https://a'\nglobal.timeout='5'", {}, Index(), id="settings of something else"),
        ],
    )
    def test_are_read_from(self, listed: str, environment: dict[str, str], index: Index) -> None:
        assert image_settings.parse_index(listed, environment) == index

    def test_are_written_for_pip_and_for_uv(self) -> None:
        index = Index("https://a", ("https://b", "https://c"), ("a",))
        assert index.pip_conf() == "[global]\nindex-url = https://a\nextra-index-url = https://b https://c\ntrusted-host = a\n"
        assert index.uv_toml().splitlines() == [
            "system-certs = true",
            'index-url = "https://a"',
            'extra-index-url = ["https://b", "https://c"]',
            'index-strategy = "unsafe-best-match"',
            'allow-insecure-host = ["a"]',
        ]

    def test_name_the_certificates_that_a_variable_names(self, tmp_path: Path) -> None:
        bundle = tmp_path / "bundle.crt"
        bundle.write_text("")
        assert image_settings.certificates({"SSL_CERT_FILE": str(bundle)}) == bundle
        mounts = image_settings.mounts({"SSL_CERT_FILE": str(bundle), "UV_CACHE_DIR": str(tmp_path / "uv")})
        assert mounts[bundle] == "/etc/ssl/certs/ca-certificates.crt:ro"
        assert mounts[tmp_path / "uv"] == "/var/cache/uv"


class TestBase:
    """The image that stands in for `python:3.11-slim`."""

    @pytest.fixture
    def machine(self, tmp_path: Path) -> Path:
        (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
        (tmp_path / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
        (tmp_path / "etc/apt/sources.list.d/debian.sources").write_text("Types: deb\n")
        return tmp_path

    def test_is_of_the_release_and_from_the_mirrors_of_a_debian_machine(self, machine: Path) -> None:
        assert image_base.origin(machine) == Origin("trixie", (machine / "etc/apt/sources.list.d/debian.sources",))

    def test_is_of_a_known_release_on_another_system(self, machine: Path) -> None:
        (machine / "etc/os-release").write_text("ID=fedora\nVERSION_CODENAME=none\n")
        assert image_base.origin(machine) == Origin("bookworm")

    def test_has_a_name_by_its_recipe_and_not_by_this_machines_mirrors(self, machine: Path) -> None:
        assert image_base.base_name(Origin("trixie", (machine,))) == image_base.base_name(Origin("trixie"))
        assert image_base.base_name(Origin("trixie")) != image_base.base_name(Origin("bookworm"))


class TestValues:
    """The file by which helm learns the images' names."""

    @pytest.fixture
    def where(self, tmp_path: Path) -> Layout:
        return Layout(cache=tmp_path / "cache", state=tmp_path / "state" / "cluster")

    def test_are_text_even_for_a_tag_of_digits(self) -> None:
        written = images.values({"infer": ("r/windlass/infer", "123456789012")})
        assert json.loads(written) == {"images": {"infer": {"repository": "r/windlass/infer", "tag": "123456789012"}}}

    def test_of_the_users_own_cluster_are_the_users(self, where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLUSTER", "current")
        monkeypatch.setenv("WINDLASS_IMAGES", "/mine.yaml")
        assert images.values_file(where) == Path("/mine.yaml")
        monkeypatch.delenv("WINDLASS_IMAGES")
        with pytest.raises(ClusterError, match="WINDLASS_IMAGES"):
            images.values_file(where)

    def test_only_images_with_torch_hear_of_another_build_of_it(self) -> None:
        environment = {"TORCH_PIP_OPTIONS": "--torch-backend cpu"}
        heard = {name: images.torch_options(name, environment) for name in images.NAMES}
        assert {name for name, arguments in heard.items() if arguments} == {"train", "infer-torch"}


def test_only_processes_at_work_in_our_own_storage_are_ended(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    waiting = ["buildah", "-c", "read line", str(ours / "storage")]  # a shell that says it is buildah
    with subprocess.Popen(waiting, executable="/bin/sh", stdin=subprocess.PIPE) as process:
        try:
            image_process.kill(other)
            assert process.poll() is None
            assert image_process.strays(ours) == [process.pid]
            image_process.kill(ours)
            assert process.wait(timeout=10) == -signal.SIGKILL
        finally:
            process.kill()


def test_a_failed_command_shows_its_last_lines_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "image-train.log"
    with pytest.raises(ClusterError, match=r"(?s)image-train\.log.*no such wheel"):
        following.follow(["sh", "-c", "echo no such wheel; exit 3"], {}, log, Progress(), str.strip)
    assert log.read_text() == "no such wheel\n"
