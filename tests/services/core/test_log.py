import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass_core import log


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: str | None = None) -> io.StringIO:
    stream = io.StringIO()
    log.configure("test", environment={} if level is None else {log.LEVEL_VARIABLE: level}, stream=stream)
    return stream


def test_a_record_is_one_json_object_with_service_level_logger_and_extras() -> None:
    stream = configured()
    logging.getLogger("some.module").warning("%d rows of %s\nare bad", 3, "x.csv", extra={"file": "x.csv", "rows": 3})
    (line,) = lines_of(stream)
    time = str(line.pop("time"))
    assert time.endswith("Z")
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert line == {
        "level": "WARNING",
        "service": "test",
        "logger": "some.module",
        "message": "3 rows of x.csv\nare bad",
        "file": "x.csv",
        "rows": 3,
    }


def test_an_exception_that_cannot_be_raised_is_a_line_like_others() -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError("too late")

    stream = configured()
    failing: Failing | None = Failing()
    failing = None  # noqa: F841  # its last reference
    (line,) = lines_of(stream)
    assert (line["level"], str(line["message"])[:20]) == ("WARNING", "Exception ignored in")
    assert "ValueError: too late" in str(line["exception"])


def test_a_thread_that_ends_by_an_exception_is_told_of_by_its_name() -> None:
    stream = configured()
    for target in (lambda: 1 // 0, sys.exit):  # the end that a thread asks for is none
        thread = threading.Thread(target=target, name="reader")
        thread.start()
        thread.join()
    (line,) = lines_of(stream)
    assert line["message"] == "thread 'reader' ended by an exception that nobody caught"
    assert "ZeroDivisionError" in str(line["exception"])


def test_a_program_that_ends_by_an_exception_says_so_in_one_line_and_by_its_code() -> None:
    program = "from windlass_core import log; log.configure('test'); raise ValueError('what happened')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    line = json.loads(ended.stderr)
    assert (ended.returncode, line["level"], line["logger"]) == (1, "CRITICAL", "windlass_core.log")
    assert "ValueError: what happened" in line["exception"]


def test_a_traceback_stays_in_the_field_exception_of_one_line() -> None:
    stream = configured()
    try:
        raise ValueError("what happened")
    except ValueError:
        logging.getLogger("some").exception("it failed")
    (line,) = lines_of(stream)
    assert line["message"] == "it failed"
    assert "ValueError: what happened" in str(line["exception"])


def test_an_extra_that_json_cannot_hold_stands_as_its_text() -> None:
    stream = configured()
    logging.getLogger("some").info("x", extra={"kind": ValueError})
    assert lines_of(stream)[0]["kind"] == "<class 'ValueError'>"


def test_a_number_that_is_not_finite_stands_as_null_and_the_line_stays_json() -> None:
    stream = configured()
    extra = {"loss": float("nan"), "range": (float("-inf"), 1.5), "deep": {"best": [float("inf"), "text"]}, "path": Path("x")}
    logging.getLogger("some").info("it diverged", extra=extra)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = json.loads(stream.getvalue(), parse_constant=refuse)
    found = {key: line[key] for key in extra}
    assert found == {"loss": None, "range": [None, 1.5], "deep": {"best": [None, "text"]}, "path": "x"}


def test_the_request_id_is_on_each_line_while_a_request_is_served_and_gone_after() -> None:
    stream = configured()
    token = log.request_id.set("r-1")
    logging.getLogger("some").info("within")
    log.request_id.reset(token)
    logging.getLogger("some").info("after")
    assert [line.get("requestId") for line in lines_of(stream)] == ["r-1", None]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        pytest.param(None, ["info", "warning"], id="INFO without the variable"),
        pytest.param("debug", ["debug", "info", "warning"], id="a level in any case"),
        pytest.param("WARNING", ["warning"], id="a higher level"),
        pytest.param(
            "loud",
            ["WINDLASS_LOG_LEVEL is 'LOUD', which is no level; using INFO", "info", "warning"],
            id="no level at all is told",
        ),
    ],
)
def test_the_level_comes_from_the_environment(level: str | None, shown: list[str]) -> None:
    stream = configured(level)
    logger = logging.getLogger("some")
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    assert [line["message"] for line in lines_of(stream)] == shown


def test_configuring_again_replaces_the_first_configuration() -> None:
    first, second = configured(), configured()
    logging.getLogger("some").info("once")
    assert first.getvalue() == ""
    assert len(lines_of(second)) == 1


def test_warnings_of_libraries_are_lines_of_the_log() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.showwarning("an old call", UserWarning, "library.py", 7)
    assert "an old call" in str(lines_of(stream)[0]["message"])


def test_the_default_stream_is_stderr() -> None:
    log.configure("test", environment={})
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
