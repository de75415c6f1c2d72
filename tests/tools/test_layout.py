"""Rules of the tree that no linter knows."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    Path(name)
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]
LINES_OF_A_FILE = 350


def test_operator_is_a_folder_and_never_a_package_because_it_would_shadow_the_standard_library() -> None:
    assert Path("operator/__init__.py") not in FILES


def test_no_folder_of_tests_is_a_package_because_two_of_them_bear_names_of_the_standard_library() -> None:
    assert [path for path in FILES if path.parts[0] == "tests" and path.name == "__init__.py"] == []


def test_no_file_holds_more_than_one_reads_at_a_sitting() -> None:
    python = [path for path in FILES if path.suffix == ".py"]
    assert [path for path in python if len((ROOT / path).read_text().splitlines()) > LINES_OF_A_FILE] == []


@pytest.mark.parametrize("page", [path for path in FILES if path.suffix == ".md"], ids=str)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (ROOT / page.parent / target).exists()] == []
