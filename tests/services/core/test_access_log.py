"""Which requests are logged: all that failed, and a sample of those that did not."""

import logging

import pytest

from windlass_core import requests
from windlass_core.requests import LogSample


@pytest.mark.parametrize(
    ("given", "logged"),
    [("3", 3), ("1", 10), ("0", 0), ("", 0), ("often", 0)],
    ids=["one of three", "all", "none", "the default, one of a thousand", "nonsense, so the default"],
)
@pytest.mark.parametrize("status", [200, 429], ids=["answers", "refusals for too much load"])
def test_a_sample_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: str, logged: int, status: int
) -> None:
    monkeypatch.setattr(requests, "_SAMPLE", LogSample.configured({"WINDLASS_ACCESS_LOG_EVERY": given}))
    with caplog.at_level(logging.INFO, "windlass_core.serving"):
        caplog.clear()
        for _ in range(10):
            requests.observe("POST", "/x", "/x", status, 0.001)
    assert len(caplog.records) == logged


@pytest.mark.parametrize("status", [400, 500, 504, None], ids=["400", "500", "504", "a client that went away"])
def test_every_failure_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int | None) -> None:
    monkeypatch.setattr(requests, "_SAMPLE", LogSample(0))
    with caplog.at_level(logging.INFO, "windlass_core.serving"):
        for _ in range(3):
            requests.observe("POST", "/x", "/x", status, 0.001)
    assert len(caplog.records) == 3
