"""What stands around the numbers of a V2 request in JSON, read before: a client sends the same again and again.

A request with one input is a frame and a flat list of values in it. Frames are known by all of their bytes, as heads are
(`windlass_core.heads`): what was made of one then would be made of it now, so that only the values are read and checked.
Requests with an id are not kept, because a client has another for each. Nothing here reads a frame: `protocol.py` does, once.

Used on one event loop, and on the thread for large bodies: a lost entry costs nothing but time.
"""

import secrets
from dataclasses import dataclass, replace

import orjson

from windlass_infer.datatypes import DATATYPES, Datatype, Tensor, from_json
from windlass_infer.protocol import InferRequest

# A client sends a frame for each number of rows. When there are too many all are forgotten.
MAX_FRAMES = 256
MAX_FRAME_BYTES = 2048

_KEY = b'"data":'
_SPACE, _OPENS = b" [", b"["
# Stands where the values were while it is seen whether they are the input's; nobody can have sent it.
_MARK = [secrets.token_hex()]


@dataclass(frozen=True, slots=True)
class _Frame:
    """A request without its only input, and what that is but for its values."""

    request: InferRequest
    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class KnownFrames:
    """Remembers frames."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], _Frame] = {}

    def find(self, body: bytes) -> tuple[InferRequest, tuple[Tensor, ...]] | None:
        """The request without inputs, and its only input, if its frame is known and its values are a list.

        Raises:
            BadRequest: the values are not what the frame says.
        """
        if (split := _split(body)) is None:
            return None
        begin, end = split
        if (frame := self._known.get((body[:begin], body[end:]))) is None:
            return None
        try:
            values = orjson.loads(body[begin:end])
        except orjson.JSONDecodeError:
            return None  # whoever reads the whole can say where it is wrong
        return frame.request, (from_json(frame.name, frame.datatype, frame.shape, values),)

    def learn(self, body: bytes, request: InferRequest) -> None:
        """Remember the frame of a body of JSON that was read as this request."""
        if request.id is not None or len(request.inputs) != 1 or (split := _split(body)) is None:
            return
        begin, end = split
        before, behind = body[:begin], body[end:]
        if not _is_input(before, body[begin:end], behind):
            return
        if len(self._known) >= MAX_FRAMES:
            self._known.clear()
        only = request.inputs[0]
        self._known[before, behind] = _Frame(
            replace(request, inputs=()), only.name, DATATYPES[only.datatype], only.values.shape
        )


def _split(body: bytes) -> tuple[int, int] | None:
    """Where the first list of something called data begins and ends, if it is flat and little stands around it.

    The name cannot be within a text of JSON, where quotes are escaped. A list in it, or a text with a bracket, would end it too
    soon: then it is no JSON.
    """
    begin = body.find(_KEY) + len(_KEY)
    if begin < len(_KEY):
        return None
    if body.startswith(_SPACE, begin):
        begin += 1
    end = body.find(b"]", begin) + 1
    flat = end > 0 and body.startswith(_OPENS, begin) and begin + len(body) - end <= MAX_FRAME_BYTES
    return (begin, end) if flat else None


def _is_input(before: bytes, values: bytes, behind: bytes) -> bool:
    """Whether the values are JSON by themselves, and are the data of the first input and of nothing else."""
    try:
        orjson.loads(values)
        marked = orjson.loads(before + orjson.dumps(_MARK) + behind)
    except orjson.JSONDecodeError:
        return False
    return bool(marked["inputs"][0].get("data") == _MARK)
