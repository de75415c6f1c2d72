"""The list of reasons in the documentation is whole: users look up what a condition says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "when-something-is-wrong.md").read_text()
# Answers to HTTP requests; they never stand on an object.
OF_REQUESTS = {
    ("windlass_infer", "errors.py"),
    ("windlass_preprocess", "bodies.py"),
    ("windlass_preprocess", "uploads.py"),
}
SOURCES = [
    path
    for package in ("operator", "services/core", "services/preprocess", "services/train", "services/infer")
    for path in (ROOT / package / "src").rglob("*.py")
    if path.parts[-2:] not in OF_REQUESTS
]
# How reasons stand in the code: of conditions, of diagnoses, and of errors that end a run.
PATTERNS = (
    r'Verdict\(\s*"(?:True|False|Unknown)",\s*"([A-Z][A-Za-z]+)"',
    r'Diagnosis\(\s*"([A-Z][A-Za-z]+)"',
    r'OmittedFormat\([^)]*?reason="([A-Z][A-Za-z]+)"',
    r'default_reason = "([A-Z][A-Za-z]+)"',
    r'(?:BadData|BadConfiguration|BadDevice|Failed)\([^)]*?reason="([A-Z][A-Za-z]+)"',
)
# The same, of the errors that all share.
OF_HTTP = {"NotFound", "Conflict"}


def reasons() -> set[str]:
    text = "\n".join(path.read_text() for path in SOURCES)
    return {reason for pattern in PATTERNS for reason in re.findall(pattern, text, re.DOTALL)} - OF_HTTP


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_every_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in PAGE


def test_the_reasons_are_found_at_all() -> None:
    assert {"Running", "Unschedulable", "LabelNotFound", "OutOfMemory"} <= reasons()
