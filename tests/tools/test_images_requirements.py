"""`dockerfiles/requirements.py`: what an image installs before any of our code is in it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from layout import REPOSITORY
from scripts import script_at

CORE = """
[project]
name = "ours-core"
dependencies = ["pydantic>=2"]
[project.optional-dependencies]
store = ["obstore"]
serving = ["fastapi[standard]>=0.1"]
"""
APP = """
[project]
name = "ours-app"
dependencies = ["ours-core[store, serving]", "numpy"]
"""


@pytest.fixture
def script() -> ModuleType:
    return script_at("dockerfiles/requirements.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "core.toml").write_text(CORE)
    (tmp_path / "app.toml").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param(["ours-core"], {"pydantic>=2"}, id="a package without extras"),
        pytest.param(["ours-core[store]"], {"pydantic>=2", "obstore"}, id="an extra of ours is followed"),
        pytest.param(
            ["ours-app"],
            {"pydantic>=2", "obstore", "fastapi[standard]>=0.1", "numpy"},
            id="a package of ours that needs another of ours, with extras",
        ),
        pytest.param(["ours-app", "ours-core"], {"pydantic>=2", "obstore", "fastapi[standard]>=0.1", "numpy"}, id="two"),
    ],
)
def test_only_packages_of_others_are_printed(script: ModuleType, folder: Path, wanted: list[str], found: set[str]) -> None:
    assert script.third_party(wanted, script.projects(folder)) == found


def test_an_extra_that_is_not_declared_is_an_error(script: ModuleType, folder: Path) -> None:
    with pytest.raises(KeyError, match="unknown"):
        script.third_party(["ours-core[unknown]"], script.projects(folder))


def test_the_operator_needs_neither_torch_nor_a_web_framework_and_infer_no_torch(script: ModuleType) -> None:
    projects = script.projects(REPOSITORY / "operator") | script.projects(REPOSITORY / "services")

    def names(package: str) -> set[str]:
        return {script.REQUIREMENT.match(line)["name"] for line in script.third_party([package], projects)}

    assert not names("windlass-operator") & {"torch", "fastapi", "uvicorn", "obstore", "duckdb", "pyarrow"}
    assert not names("windlass-infer") & {"torch", "duckdb"}
    assert "torch" in names("windlass-train")
