"""Frames of V2 requests in JSON: one that is known says what reading the whole would say, and nothing else is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass_infer import known_frames
from windlass_infer.errors import BadRequest
from windlass_infer.known_frames import KnownFrames
from windlass_infer.protocol import InferRequest, parse_request

HEAD = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32",'
PLAIN = HEAD + b'"data":%b}]}'

# By sentence: a body that is read, one that comes after it, and the values of the second by its frame.
KNOWN: dict[str, tuple[bytes, bytes, list[Any]]] = {
    "other numbers": (PLAIN % b"[1,2]", PLAIN % b"[3.5,-4e2]", [3.5, -400]),
    "more digits and spaces": (PLAIN % b"[1,2]", PLAIN % b"[ 0.123456 ,\n 2 ]", [0.123456, 2]),
    "a space before the list": (HEAD + b'"data": [1, 2]}]}', HEAD + b'"data": [5, 6]}]}', [5, 6]),
    "a shape behind the values": (
        b'{"inputs":[{"data":[1],"name":"x","shape":[1],"datatype":"INT8"}]}',
        b'{"inputs":[{"data":[-7],"name":"x","shape":[1],"datatype":"INT8"}]}',
        [-7],
    ),
    "texts": (
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":["a","b"]}]}',
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":["c,","\\u005d"]}]}',
        ["c,", "]"],
    ),
}


@pytest.mark.parametrize(("first", "second", "values"), KNOWN.values(), ids=KNOWN)
def test_the_frame_of_a_request_is_known_the_next_time_whatever_its_values(
    first: bytes, second: bytes, values: list[Any]
) -> None:
    frames = knowing(first)
    found = frames.find(second)
    assert found is not None
    assert found[1][0].values.ravel().tolist() == np.array(values, found[1][0].values.dtype).tolist()
    same(found, parse_request(second))


# By sentence: a body that is read, and one that must be read as a whole after it.
UNKNOWN = {
    "another name": (PLAIN % b"[1,2]", (PLAIN % b"[1,2]").replace(b'"x"', b'"y"')),
    "another shape": (PLAIN % b"[1,2]", (PLAIN % b"[1,2]").replace(b"[1,2],", b"[2,1],", 1)),
    "nested values": (PLAIN % b"[[1,2]]", PLAIN % b"[[3,4]]"),
    "values that are no JSON": (PLAIN % b"[1,2]", PLAIN % b"[1,,2]"),
    "a text that holds the bracket": (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a]b"]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["c]b"]}]}',
    ),
    "an id, which is another for each request": (
        b'{"id":"1",' + (PLAIN % b"[1,2]")[1:],
        b'{"id":"1",' + (PLAIN % b"[3,4]")[1:],
    ),
    "two inputs": (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1]},{"name":"y","shape":[1],"datatype":"INT8","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[2]},{"name":"y","shape":[1],"datatype":"INT8","data":[1]}]}',
    ),
    "something else that is called data": (
        b'{"parameters":{"data":[1]},"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1]}]}',
        b'{"parameters":{"data":[2]},"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1]}]}',
    ),
    "values that are given twice": (
        HEAD + b'"data":[1,2],"data":[5,6]}]}',
        HEAD + b'"data":[3,4],"data":[5,6]}]}',
    ),
    "a body that is large": (
        b'{"inputs":[{"name":"x","shape":[40000],"datatype":"INT8","data":[%b]}]}' % b",".join([b"1"] * 40_000),
        b'{"inputs":[{"name":"x","shape":[40000],"datatype":"INT8","data":[%b]}]}' % b",".join([b"2"] * 40_000),
    ),
    "a frame that is long": (
        b'{"parameters":{"note":"' + b"n" * 2048 + b'"},' + (PLAIN % b"[1,2]")[1:],
        b'{"parameters":{"note":"' + b"n" * 2048 + b'"},' + (PLAIN % b"[1,2]")[1:],
    ),
}


@pytest.mark.parametrize(("first", "second"), UNKNOWN.values(), ids=UNKNOWN)
def test_all_else_is_read_as_a_whole(first: bytes, second: bytes) -> None:
    frames = knowing(first)
    assert frames.find(second) is None


def test_a_frame_that_came_once_is_not_learned_for_it_may_be_another_each_time() -> None:
    frames = KnownFrames()
    frames.learn(PLAIN % b"[1,2]", parse_request(PLAIN % b"[1,2]"))
    assert frames.find(PLAIN % b"[1,2]") is None


def test_a_value_is_refused_by_its_place_also_in_a_known_frame() -> None:
    frames = knowing(PLAIN % b"[1,2]")
    with pytest.raises(BadRequest, match="tensor 'x': value 1 is 'a', which is not a FP32 value"):
        frames.find(PLAIN % b'[1,"a"]')
    with pytest.raises(BadRequest, match=r"shape \[1, 2\] takes 2 values, but data has 3"):
        frames.find(PLAIN % b"[1,2,3]")


def test_frames_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_frames, "MAX_FRAMES", 2)
    frames = KnownFrames()
    bodies = [(PLAIN % b"[1,2]").replace(b'"x"', b'"%d"' % number) for number in range(3)]
    for body in bodies:
        read_twice(frames, body)
    assert [frames.find(body) is not None for body in bodies] == [False, False, True]


PIECES = st.lists(
    st.sampled_from(
        [b'"data":', b"[", b"]", b"[1]", b'["]"]', b'["a]', b"1", b",", b'"', b"\\", b"{", b"}", b'"p":', b'"p":1,']
    ),
    max_size=5,
).map(b"".join)
VALUES = st.sampled_from([b'["a"]', b'["b"]', b'["]"]', b'["\\""]', b"[]", b'["a","b"]', b'["a],"]', b"[1]"])
BODY = b'{%b"inputs":[{"name":"x","datatype":"BYTES","shape":[1],%b"data":%b%b}]%b}'


@settings(deadline=None, max_examples=500)  # a busy machine is no failure
@given(pieces=st.lists(PIECES | st.just(b""), min_size=4, max_size=4), values=st.lists(VALUES, min_size=2, max_size=6))
def test_whatever_was_read_before_a_known_frame_says_what_reading_the_whole_says(
    pieces: list[bytes], values: list[bytes]
) -> None:
    frames = KnownFrames()
    for value in values:
        body = BODY % (pieces[0], pieces[1], value, pieces[2], pieces[3])
        found, read = outcome(frames.find, body), outcome(parse_request, body)
        if isinstance(read, InferRequest):
            read_twice(frames, body)
        if found is not None:
            assert type(found) is not str or found == read
            assert type(found) is str or isinstance(read, InferRequest)
        if isinstance(found, tuple):
            same(found, read)


def knowing(body: bytes) -> KnownFrames:
    """Frames, after this body has come twice."""
    frames = KnownFrames()
    assert frames.find(body) is None
    read_twice(frames, body)
    return frames


def read_twice(frames: KnownFrames, body: bytes) -> None:
    for _ in range(2):
        frames.learn(body, parse_request(body))


def outcome(read: Any, body: bytes) -> Any:
    """What it gives, or the sentence with which it refuses."""
    try:
        return read(body)
    except BadRequest as error:
        return error.message


def same(found: Any, read: InferRequest) -> None:
    request, tensors = found
    for field in ("outputs", "binary_by_default", "id", "timeout_seconds", "priority"):
        assert getattr(request, field) == getattr(read, field)
    for mine, theirs in zip(tensors, read.inputs, strict=True):
        assert (mine.name, mine.datatype) == (theirs.name, theirs.datatype)
        np.testing.assert_array_equal(mine.values, theirs.values)
        assert mine.values.shape == theirs.values.shape
        assert mine.values.dtype == theirs.values.dtype
