"""What stands around the values of a V2 request in JSON, read before: a client sends the same again and again.

A request with one input is a frame and a flat list of values in it. Frames are known by all of their bytes, as heads are
(`windlass_core.heads`): what was made of one then would be made of it now, so that only the values are read and checked.
Frames that are another for each request (ids, times that run out) are not learned. What a frame means `protocol.py` says.

Used on one event loop, and on the thread for large bodies: a lost entry costs nothing but time.
"""

import secrets
from dataclasses import dataclass, replace
from typing import TypeVar

import orjson

from windlass_infer.datatypes import DATATYPES, Datatype, Tensor, from_json
from windlass_infer.protocol import InferRequest

# A client sends a frame for each number of rows. When there are too many all are forgotten.
MAX_FRAMES = 256
MAX_FRAME_BYTES = 2048
# Reading the values of a larger body takes so long that reading the rest shows no more, and to learn it reads them twice.
MAX_BODY_BYTES = 64 * 1024

_DATA = b'"data":'
_SPACE, _OPENS = b" [", b"["
# Stands where the values were while it is seen whether they are the input's; nobody can have sent it.
_MARK = [secrets.token_hex()]


_Key = tuple[bytes, bytes]  # what stands before the values, and behind them
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Frame:
    """A request without its only input, and what that is but for its values."""

    request: InferRequest
    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class KnownFrames:
    """Remembers frames that have come twice."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Frame] = {}
        self._came: dict[_Key, None] = {}  # once

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
        """Remember the frame of a body of JSON that was read as this request, if it has come before."""
        if request.id is not None or len(request.inputs) != 1 or (split := _split(body)) is None:
            return
        begin, end = split
        key = body[:begin], body[end:]
        if key not in self._came:
            _put(self._came, key, None)
        elif _is_input(*key, values=body[begin:end]):
            only = request.inputs[0]
            without = replace(request, inputs=())
            _put(self._known, key, _Frame(without, only.name, DATATYPES[only.datatype], only.values.shape))


def _put(frames: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(frames) >= MAX_FRAMES:
        frames.clear()
    frames[key] = value


def _split(body: bytes) -> tuple[int, int] | None:
    """Where the first list of something called data begins and ends, if it is flat and little stands around it.

    The name cannot be within a text of JSON, where quotes are escaped. A list in it, or a text with a bracket, would end it too
    soon: then it is no JSON.
    """
    begin = body.find(_DATA, 0, MAX_FRAME_BYTES) + len(_DATA)
    if begin < len(_DATA) or len(body) > MAX_BODY_BYTES:
        return None
    if body.startswith(_SPACE, begin):
        begin += 1
    end = body.find(b"]", begin) + 1
    flat = end > 0 and body.startswith(_OPENS, begin) and begin + len(body) - end <= MAX_FRAME_BYTES
    return (begin, end) if flat else None


def _is_input(before: bytes, behind: bytes, *, values: bytes) -> bool:
    """Whether the values are JSON by themselves, and are the data of the first input and of nothing else."""
    try:
        orjson.loads(values)
        marked = orjson.loads(before + orjson.dumps(_MARK) + behind)
    except orjson.JSONDecodeError:
        return False
    return bool(marked["inputs"][0].get("data") == _MARK)
