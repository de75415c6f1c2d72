"""What goes into an image, and that its tag says so: the same content the same tag, other content another."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import image_bare
import image_content
import images
import pytest
from console import ClusterError
from image_content import Image
from layout import REPOSITORY

DOCKERFILE = """\
ARG BASE=python:3.11-slim
FROM ${BASE} AS tools
# COPY comment.txt /
COPY pins.txt \\
     tool.py /to/
COPY --from=tools /elsewhere /elsewhere
COPY code /code
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "dockerfiles").mkdir(parents=True)
    (root / "dockerfiles" / "app.Dockerfile").write_text(DOCKERFILE)
    (root / ".dockerignore").write_text("*\n!code\n**/__pycache__\n**/*.egg-info\n")
    (root / "pins.txt").write_text("a==1\n")
    (root / "tool.py").write_text("print()\n")
    (root / "code" / "inner").mkdir(parents=True)
    (root / "code" / "inner" / "main.py").write_text("main = 1\n")
    (root / "unrelated.txt").write_text("1\n")
    return root


def tag(repository: Path, image: Image | None = None) -> str:
    image = image or Image("app")
    context = repository.with_name("context")
    shutil.rmtree(context, ignore_errors=True)
    image_content.snapshot(repository, [image], context)
    return image_content.tag(image, context)


def test_the_context_holds_what_the_dockerfile_copies_and_nothing_else(repository: Path) -> None:
    (repository / "code" / "__pycache__").mkdir()
    (repository / "code" / "__pycache__" / "main.pyc").write_bytes(b"\0")
    (repository / "code" / "app.egg-info").mkdir()
    tag(repository)
    context = repository.with_name("context")
    found = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert found == {"dockerfiles/app.Dockerfile", "pins.txt", "tool.py", "code/inner/main.py"}


@pytest.mark.parametrize("path", ["tool.py", "dockerfiles/app.Dockerfile"])
def test_a_file_that_is_not_there_is_named(repository: Path, path: str) -> None:
    (repository / path).unlink()
    with pytest.raises(ClusterError, match=re.escape(f"`{path}`")):
        tag(repository)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "code/inner/main.py").write_text("main = 2\n"), id="a line of code"),
        pytest.param(lambda root: (root / "code/inner/new.py").write_text(""), id="an empty new file"),
        pytest.param(lambda root: (root / "code/inner/main.py").rename(root / "code/main.py"), id="a file moved"),
        pytest.param(lambda root: (root / "code/inner/main.py").chmod(0o755), id="a file made executable"),
        pytest.param(lambda root: (root / "pins.txt").write_text("a==2\n"), id="a pin"),
        pytest.param(
            lambda root: (root / "dockerfiles/app.Dockerfile").write_text(DOCKERFILE + "USER 1\n"), id="the Dockerfile"
        ),
    ],
)
def test_the_tag_changes_with(change: Callable[[Path], object], repository: Path) -> None:
    before = tag(repository)
    change(repository)
    assert tag(repository) != before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: (root / "unrelated.txt").write_text("2\n"), id="a file that is not copied"),
        pytest.param(lambda root: (root / "code/inner/main.py").touch(), id="the time of a file"),
        pytest.param(lambda root: (root / "code/__pycache__").mkdir(), id="an ignored folder"),
        pytest.param(lambda root: root.rename(root.with_name("moved")).rename(root), id="a checkout made anew"),
    ],
)
def test_the_tag_stays_with(change: Callable[[Path], object], repository: Path) -> None:
    before = tag(repository)
    change(repository)
    assert tag(repository) == before


def test_the_tag_changes_with_a_build_argument(repository: Path) -> None:
    assert tag(repository, Image("app", {"BASE": "a"})) != tag(repository, Image("app", {"BASE": "b"}))


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def dockerfile(name: str) -> str:
    return Image(name).dockerfile(REPOSITORY).read_text()


PYTHON = [name for name in images.NAMES if name != "versitygw"]


@pytest.mark.parametrize("name", PYTHON)
def test_the_installers_of_an_image_are_those_that_constraints_pin(name: str) -> None:
    given = dict(re.findall(r"^ARG (\w+)_VERSION=(\S+)$", dockerfile(name), re.MULTILINE))
    assert given == {"UV": pins()["uv"], "HATCHLING": pins()["hatchling"]}


@pytest.mark.parametrize("name", images.NAMES)
def test_docker_is_sent_all_that_an_image_copies(name: str) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in lines if line.startswith("!")]
    missing = [path for path in image_content.copied(dockerfile(name)) if not any(f"{path}/".startswith(f"{s}/") for s in sent)]
    assert missing == []


@pytest.mark.parametrize("name", PYTHON)
def test_images_share_the_stage_of_the_installer_word_for_word(name: str) -> None:
    def stage(text: str) -> str:
        return text[text.index("FROM ${BASE} AS tools") : text.index("ENV PATH")]

    assert stage(dockerfile(name)) == stage(dockerfile(PYTHON[0]))


WITHOUT_TORCH = ("operator", "preprocess", "infer")


def test_images_without_torch_stand_on_the_same_made_once(tmp_path: Path) -> None:
    lean = [Image(name, {"BASE": "base:1"}) for name in WITHOUT_TORCH]
    image_content.snapshot(REPOSITORY, lean, tmp_path)
    assert all("\nFROM runtime\n" in dockerfile(image.name) for image in lean)
    assert len({image_content.stage_content(image, tmp_path, "runtime") for image in lean}) == 1


@pytest.mark.parametrize(
    ("stage", "path", "another"),
    [
        pytest.param("runtime", "dockerfiles/runtime.py", True, id="what is copied into a stage that it mounts"),
        pytest.param("requirements", "services/infer/pyproject.toml", True, id="what is copied into it"),
        pytest.param("requirements", "dockerfiles/runtime.py", False, id="what only another stage copies"),
        pytest.param("requirements", "services/infer/src/windlass_infer/__main__.py", False, id="our code"),
    ],
)
def test_a_stage_is_another_by(stage: str, path: str, another: bool, tmp_path: Path) -> None:
    image = Image("infer", {"BASE": "base:1"})
    image_content.snapshot(REPOSITORY, [image], tmp_path)
    before = image_content.stage_content(image, tmp_path, stage)
    assert before is not None
    with (tmp_path / path).open("a") as file:
        file.write("\n")
    assert (image_content.stage_content(image, tmp_path, stage) != before) is another
    assert image_content.stage_content(Image("infer", {"BASE": "base:2"}), tmp_path, stage) != before


def test_stages_that_are_built_by_themselves_have_none_of_our_code() -> None:
    for name in PYTHON:
        text = dockerfile(name)
        files = [path for stage in image_bare.STAGES for path in image_content.copied(image_content.stage(text, stage))]
        assert files
        assert not [path for path in files if (REPOSITORY / path).is_dir()]


def test_a_stage_that_an_image_does_not_have_has_no_content(tmp_path: Path) -> None:
    image = Image("train")
    image_content.snapshot(REPOSITORY, [image], tmp_path)
    assert image_content.stage_content(image, tmp_path, "runtime") is None


@pytest.mark.parametrize("name", images.NAMES)
def test_an_image_runs_as_a_user_that_is_not_root_and_is_labelled(name: str) -> None:
    text = dockerfile(name)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["65532:65532"]
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text))
    assert labels == {"title", "description", "licenses", "revision"}


@pytest.mark.parametrize("name", PYTHON)
def test_a_crash_in_native_code_leaves_its_stack_in_the_log_of_an_image(name: str) -> None:
    settings = re.findall(r"^ENV (PATH=\S+ HOME(?:.|\\\n)*)$", dockerfile(name), re.MULTILINE)
    assert "PYTHONFAULTHANDLER=1" in settings[0].split()


@pytest.mark.parametrize("name", PYTHON)
def test_the_entry_point_of_an_image_is_a_script_of_a_package_in_it(name: str) -> None:
    copied = [REPOSITORY / path / "pyproject.toml" for path in image_content.copied(dockerfile(name))]
    projects = [tomllib.loads(path.read_text())["project"] for path in copied if path.is_file()]
    scripts = {script for project in projects for script in project.get("scripts", {})}
    script = f"windlass-{name.removesuffix('-torch')}"
    assert re.findall(r'^ENTRYPOINT \["(.*)"\]$', dockerfile(name), re.MULTILINE) == [script]
    assert script in scripts


def test_images_with_torch_have_the_layer_of_it_in_common_word_for_word() -> None:
    def layer(text: str) -> str:
        return text[text.index("\nFROM ${BASE}\n") : text.index("COPY --from=requirements /rest.txt")]

    def pins(text: str) -> str:
        return re.findall(r"(pins\(\).*?) && python3 requirements.py", text, re.DOTALL)[0]

    train, infer = dockerfile("train"), dockerfile("infer-torch")
    assert "torch.txt" in layer(train)
    assert (layer(infer), pins(infer)) == (layer(train), pins(train))
