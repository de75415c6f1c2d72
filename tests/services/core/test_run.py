import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest
from children import free_port
from waiting import until

from windlass_core.contracts import RUN_SPEC_VARIABLE, TERMINATION_LOG_VARIABLE, PreprocessRun, RunResult, RunSpec
from windlass_core.errors import BadConfiguration, BadData, BadDevice, Stopped, Unavailable, UserCodeError
from windlass_core.resources import DatasetSpec
from windlass_core.run import ProgressBoard, RunContext, main_run

SPEC = PreprocessRun(
    namespace="default", name="digits", spec=DatasetSpec.model_validate({"source": {"uri": "store://raw/digits.csv"}})
)
DONE = RunResult(outcome="Succeeded", reason="Prepared", message="done")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(path))
    monkeypatch.setenv(RUN_SPEC_VARIABLE, SPEC.to_json_text())
    return path


def result_in(path: Path) -> RunResult:
    return RunResult.model_validate_json(path.read_text())


def raising(error: Exception, *, after_stop: bool = False) -> object:
    def execute(_spec: RunSpec, context: RunContext) -> RunResult:
        if after_stop:
            context.stop_requested.set()
        raise error

    return execute


def test_a_run_gets_its_spec_and_its_result_becomes_the_termination_message(message: Path, port: int) -> None:
    seen: list[RunSpec] = []

    def execute(spec: RunSpec, _context: RunContext) -> RunResult:
        seen.append(spec)
        return DONE

    assert main_run("test", execute, port=port) == 0
    assert seen == [SPEC]
    assert result_in(message) == DONE


@pytest.mark.parametrize(
    ("error", "code", "outcome", "reason", "sentence"),
    [
        pytest.param(
            BadConfiguration("no such recipe"), 40, "Failed", "BadConfiguration", "no such recipe", id="bad configuration is 40"
        ),
        pytest.param(
            BadData("row 3", reason="LabelNotFound"),
            41,
            "Failed",
            "LabelNotFound",
            "row 3",
            id="bad data is 41, with its own reason",
        ),
        pytest.param(UserCodeError("raised"), 42, "Failed", "CodeRaised", "raised", id="user code is 42"),
        pytest.param(BadDevice("no GPU"), 43, "Failed", "BadDevice", "no GPU", id="a bad device is 43"),
        pytest.param(Stopped("saved at 7"), 44, "Stopped", "Stopped", "saved at 7", id="stopped is 44"),
        pytest.param(Unavailable("no store"), 1, "Failed", "Unavailable", "no store", id="an outage is 1"),
        pytest.param(
            KeyError("x\nsecond line"),
            1,
            "Failed",
            "InternalError",
            "KeyError: 'x\\nsecond line'",
            id="an unexpected error is 1 and one line",
        ),
        pytest.param(
            ValueError("first\nsecond"), 1, "Failed", "InternalError", "ValueError: first", id="only the first line is told"
        ),
    ],
)
def test_what_a_run_raises_becomes_exit_code_and_result(
    message: Path, port: int, error: Exception, code: int, outcome: str, reason: str, sentence: str
) -> None:
    assert main_run("test", raising(error), port=port) == code  # type: ignore[arg-type]
    result = result_in(message)
    assert (result.outcome, result.reason, result.message) == (outcome, reason, sentence)


@pytest.mark.parametrize(
    "error", [BadData("half a file"), RuntimeError("peer gone"), Stopped("saved")], ids=["ours", "unexpected", "stopped"]
)
def test_after_a_request_to_stop_every_error_ends_with_44(message: Path, port: int, error: Exception) -> None:
    assert main_run("test", raising(error, after_stop=True), port=port) == 44  # type: ignore[arg-type]
    assert result_in(message).outcome == "Stopped"
    assert str(error) in result_in(message).message


def test_sigterm_asks_to_stop_and_a_run_that_ends_well_after_it_is_still_not_0(message: Path, port: int) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def execute(_spec: RunSpec, context: RunContext) -> RunResult:
        os.kill(os.getpid(), signal.SIGTERM)
        assert context.stop_requested.wait(10)
        return DONE

    assert main_run("test", execute, port=port) == 44
    assert result_in(message).outcome == "Stopped"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_another_thread_gets_is_heard_while_the_main_thread_waits(message: Path, port: int) -> None:
    """Which thread gets one is the kernel's choice; here it is that of the thread which sends it to itself."""
    heard: list[bool] = []
    main = threading.get_ident()

    def execute(_spec: RunSpec, context: RunContext) -> RunResult:
        started = threading.Event()

        def work() -> None:
            started.wait()
            until(lambda: sys._current_frames()[main].f_code.co_filename == threading.__file__)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            heard.append(context.stop_requested.wait(10))

        worker = threading.Thread(target=work)
        worker.start()
        started.set()
        worker.join()
        return DONE

    assert main_run("test", execute, port=port) == 44
    assert (heard, result_in(message).outcome) == ([True], "Stopped")


def test_signals_go_where_they_went_before_when_a_run_has_ended(message: Path, port: int) -> None:
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        try:
            assert main_run("test", lambda *_: DONE, port=port) == 0
            assert result_in(message).outcome == "Succeeded"
            assert signal.set_wakeup_fd(writing.fileno()) == writing.fileno()
        finally:
            signal.set_wakeup_fd(before)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(None, "WINDLASS_RUN_SPEC is not set", id="no variable"),
        pytest.param("", "WINDLASS_RUN_SPEC is not set", id="an empty variable"),
        pytest.param("{", "WINDLASS_RUN_SPEC is not a run: the whole: Invalid JSON", id="no JSON"),
        pytest.param('{"kind": "dance"}', "WINDLASS_RUN_SPEC is not a run: the whole: Input tag 'dance'", id="an unknown kind"),
        pytest.param(
            '{"kind": "preprocess", "namespace": "n", "name": "x"}', "preprocess.spec: Field required", id="a field is missing"
        ),
    ],
)
def test_a_spec_that_cannot_be_read_is_bad_configuration(
    message: Path, port: int, monkeypatch: pytest.MonkeyPatch, text: str | None, sentence: str
) -> None:
    if text is None:
        monkeypatch.delenv(RUN_SPEC_VARIABLE)
    else:
        monkeypatch.setenv(RUN_SPEC_VARIABLE, text)
    assert main_run("test", raising(AssertionError("never called")), port=port) == 40  # type: ignore[arg-type]
    assert result_in(message).reason == "BadConfiguration"
    assert sentence in result_in(message).message


@pytest.mark.usefixtures("message")
def test_progress_is_served_while_the_run_works(port: int) -> None:
    answers: list[dict[str, object]] = []

    def execute(_spec: RunSpec, context: RunContext) -> RunResult:
        for _ in range(2):
            answers.append(httpx.get(f"http://127.0.0.1:{port}/progress", timeout=10).json())
            context.progress.update(phase="Reading", rows=12)
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200
        assert "python_info" in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        return DONE

    assert main_run("test", execute, port=port) == 0
    assert [(answer["phase"], answer.get("rows")) for answer in answers] == [("Starting", None), ("Reading", 12)]


def test_a_termination_message_that_cannot_be_written_does_not_change_the_end(
    message: Path, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(tmp_path / "no" / "folder"))
    assert main_run("test", lambda _spec, _context: DONE, port=port) == 0
    assert not message.exists()


@pytest.mark.usefixtures("message")
def test_without_a_path_and_outside_a_pod_no_file_is_made(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(TERMINATION_LOG_VARIABLE)
    monkeypatch.setattr("windlass_core.run.TERMINATION_LOG_PATH", str(tmp_path / "default"))
    assert main_run("test", lambda _spec, _context: DONE, port=port) == 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "default").touch()
    assert main_run("test", lambda _spec, _context: DONE, port=port) == 0
    assert json.loads((tmp_path / "default").read_text())["outcome"] == "Succeeded"


def test_the_board_keeps_what_is_not_updated_and_refuses_unknown_fields() -> None:
    board = ProgressBoard()
    board.update(phase="Training", step=3, steps=10)
    first = board.current()
    board.update(step=4)
    assert (board.current().phase, board.current().step, board.current().steps) == ("Training", 4, 10)
    assert board.current().at >= first.at
    with pytest.raises(TypeError, match="no field stepp"):
        board.update(stepp=5)


def test_check_stop_raises_only_after_a_request_to_stop() -> None:
    import threading

    context = RunContext(progress=ProgressBoard(), stop_requested=threading.Event())
    context.check_stop()
    context.stop_requested.set()
    with pytest.raises(Stopped):
        context.check_stop()
