"""How an engine says that it cannot run a program: one error, one sentence. Knows no library."""

from windlass_core.errors import BadData

MODEL_LOAD_FAILED = "ModelLoadFailed"
# Characters of a library's error; the first line says what, pages of graph or stack follow.
ERROR_LENGTH = 300


def broken(message: str) -> BadData:
    """The error of a version that can never be served as it is."""
    return BadData(message, reason=MODEL_LOAD_FAILED)


def first_line(error: BaseException) -> str:
    """What an error says in one line, its type where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # TorchScript begins with where it was, and ends with what went wrong.
    return lines[-1 if "TorchScript" in lines[0] else 0][:ERROR_LENGTH]
