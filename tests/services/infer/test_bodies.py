"""Bodies other than JSON: what other tools write is read as they mean it, whatever else comes is refused with a sentence."""

import gzip
import sys
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from windlass_core.errors import BadData, WindlassError
from windlass_infer.bodies import media
from windlass_infer.bodies.compression import coding_for, compressed, decoded
from windlass_infer.bodies.image import MAX_PIXELS, MAX_PIXELS_UNSCALED, tensor_of_image
from windlass_infer.bodies.npy import read_npy, write_npy
from windlass_infer.bodies.raw import tensor_of_raw
from windlass_infer.bodies.table import columns_of_csv
from windlass_infer.engine import TensorSignature
from windlass_infer.errors import BadRequest, TooLarge, UnsupportedMedia
from windlass_infer.predictor import ImageInput
from windlass_infer.protocol import Encoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 100_000
PLAIN = b"0123456789" * 1000


def saved(array: Any, **options: Any) -> bytes:
    written = BytesIO()
    np.save(written, array, **options)
    return written.getvalue()


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", ">f4", ">i8"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_as_numpy_saved_it(dtype: str, order: Any) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype, order=order)
    tensor = read_npy("x", saved(array))
    np.testing.assert_array_equal(tensor.values, array)
    assert tensor.datatype == {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}[array.dtype.kind] + (
        str(8 * array.dtype.itemsize) if array.dtype.kind != "b" else ""
    )


def test_an_array_is_a_view_of_its_body() -> None:
    body = saved(np.zeros((4, 3), np.float32))
    assert np.shares_memory(read_npy("x", body).values, np.frombuffer(body, np.uint8))


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


GOOD_HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n"
REFUSED_ARRAYS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no .npy file"),
    "other bytes": (b"PK\x03\x04" + b"\0" * 100, "no .npy file"),
    "a pickle": (saved(np.array([{"a": 1}], dtype=object)), "it must hold numbers or truth values"),
    "text": (saved(np.array(["a"])), "it must hold numbers or truth values"),
    "a structure": (saved(np.zeros(2, [("a", "f4")])), "it must hold numbers or truth values"),
    "complex numbers": (saved(np.zeros(2, np.complex64)), "holds '<c8'"),
    "a number without dimensions": (saved(np.float32(1)), "has 0 dimensions"),
    "too many dimensions": (saved(np.zeros((1,) * 9, np.float32)), "has 9 dimensions"),
    "an array that is cut": (saved(np.zeros(4, np.float32))[:-1], "16 bytes, but 15 follow its header"),
    "an array with something behind it": (saved(np.zeros(4, np.float32)) + b"\0", "16 bytes, but 17 follow"),
    "truth values that are numbers": (saved(np.zeros(2, bool))[:-1] + b"\2", "neither 0 nor 1"),
    "a shape that lies": (header(GOOD_HEADER.replace("(1,)", "(9999999999999,)")), "but 0 follow its header"),
    "a negative shape": (header(GOOD_HEADER.replace("(1,)", "(-1,)")), "which no array has"),
    "a shape of text": (header(GOOD_HEADER.replace("(1,)", "('a',)")), "which no array has"),
    "a header that is code": (header("__import__('os').abort()\n"), "not one that numpy.save writes"),
    "a header of brackets": (header("(" * 1000), "not one that numpy.save writes"),
    "a header that is too long": (header(GOOD_HEADER + " " * 9000), "not one that numpy.save writes"),
    "a later version": (header(GOOD_HEADER, b"\x03\x00"), "no .npy file of version 1.0 or 2.0"),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED_ARRAYS.values(), ids=REFUSED_ARRAYS)
def test_no_array_is_read_of(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_npy("x", body)
    assert reason in refusal.value.message


@pytest.mark.parametrize("values", [np.array([1, 2]), np.array([True]), np.array([["é", "b"]], dtype=object)], ids=str)
def test_an_answer_is_an_array_that_numpy_loads(values: Any) -> None:
    np.testing.assert_array_equal(np.load(BytesIO(write_npy(values)), allow_pickle=False), values.astype(values.dtype))


@pytest.mark.parametrize(
    ("shape", "count", "read"),
    [((-1, 3), 6, (2, 3)), ((-1,), 4, (4,)), ((-1, 2, -1), 6, (1, 2, 3)), ((-1, -1), 5, (1, 5))],
    ids=["rows of a fixed width", "rows of one value", "one row of a free width", "one row of any width"],
)
def test_bare_values_are_as_many_rows_as_fit(shape: tuple[int, ...], count: int, read: tuple[int, ...]) -> None:
    values = np.arange(count, dtype="<i4")
    np.testing.assert_array_equal(
        tensor_of_raw(TensorSignature("x", "INT32", shape), values.tobytes()).values, values.reshape(read)
    )


@pytest.mark.parametrize("shape", [(-1, -1, -1), (-1, 0)], ids=["two free sizes", "no values in a row"])
def test_bare_values_are_refused_where_their_shape_does_not_follow(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadRequest, match="does not follow from their number"):
        tensor_of_raw(TensorSignature("x", "FP32", shape), b"\0" * 8)


def target(**fields: Any) -> ImageInput:
    values: dict[str, Any] = {"channels": 3, "height": 4, "width": 6, "channels_last": False, "datatype": "FP32"}
    values |= {"mean": (0.0,), "deviation": (1.0,)} | fields
    row = (values["height"], values["width"])
    shape = (*row, values["channels"]) if values["channels_last"] else (values["channels"], *row)
    signature = TensorSignature("image", values.pop("datatype"), (-1, *shape))
    return ImageInput(signature=signature, **values)


def picture(pixels: Any, mode: str | None = None, file_format: str = "PNG", **options: Any) -> bytes:
    written = BytesIO()
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image.convert(mode) if mode else image).save(written, file_format, **options)
    return written.getvalue()


PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_a_picture_of_the_right_size_is_its_pixels_between_0_and_1_with_the_channels_first() -> None:
    values = tensor_of_image(target(), picture(PIXELS), "PNG").values
    assert (values.dtype, values.shape) == (np.float32, (1, 3, 4, 6))
    np.testing.assert_allclose(values[0], PIXELS.transpose(2, 0, 1) / 255, atol=1e-6)


def test_a_picture_is_scaled_by_mean_and_deviation_of_each_channel() -> None:
    scaled = target(mean=(0.5, 0.25, 0.0), deviation=(0.5, 1.0, 2.0), channels_last=True)
    expected = (PIXELS / 255 - [0.5, 0.25, 0.0]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(tensor_of_image(scaled, picture(PIXELS), "PNG").values[0], expected, atol=1e-6)


def test_an_input_of_bytes_gets_the_pixels_as_they_are() -> None:
    values = tensor_of_image(target(datatype="UINT8", channels_last=True), picture(PIXELS), "PNG").values
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values[0], PIXELS)


def test_a_wider_picture_is_scaled_to_cover_the_input_and_its_middle_is_cut_out() -> None:
    wide = np.zeros((8, 32, 3), np.uint8)
    wide[:, 9:23] = 255  # the middle: 12 of 32 columns are the 6 of 4 x 6, twice as large, and one beside them is smoothed in
    assert tensor_of_image(target(), picture(wide), "PNG").values.min() > 0.99


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 3), ("RGBA", 3), ("P", 3), ("LA", 1), ("RGB", 1), ("RGB", 4), ("1", 3), ("CMYK", 3)]
)
def test_a_picture_of_another_kind_gets_the_channels_of_the_input(mode: str, channels: int) -> None:
    body = picture(PIXELS, mode, "JPEG" if mode == "CMYK" else "PNG")
    values = tensor_of_image(target(channels=channels), body, "JPEG" if mode == "CMYK" else "PNG").values
    assert values.shape == (1, channels, 4, 6)


def test_a_picture_of_any_size_goes_where_the_size_is_free() -> None:
    free = target(height=-1, width=-1)
    assert tensor_of_image(free, picture(PIXELS, file_format="JPEG"), "JPEG").values.shape == (1, 3, 4, 6)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and has almost none."""
    body = bytearray(picture(np.zeros((1, 1, 3), np.uint8)))
    body[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body[29:33] = zlib.crc32(bytes(body[12:29])).to_bytes(4, "big")
    return bytes(body)


SIXTEEN_BITS = BytesIO()
Image.fromarray(np.full((4, 6), 60000, np.uint16)).save(SIXTEEN_BITS, "PNG")
REFUSED_PICTURES: dict[str, tuple[ImageInput, bytes, str, type[WindlassError], str]] = {
    "nothing": (target(), b"", "PNG", BadRequest, "no PNG file"),
    "other bytes": (target(), b"\0" * 100, "PNG", BadRequest, "no PNG file"),
    "a PNG that says it is a JPEG": (target(), picture(PIXELS), "JPEG", BadRequest, "no JPEG file"),
    "a GIF": (target(), picture(PIXELS, file_format="GIF"), "PNG", BadRequest, "no PNG file"),
    "a PNG that is cut": (
        target(),
        picture(np.random.default_rng(0).integers(0, 255, (64, 64, 3)))[:2000],
        "PNG",
        BadRequest,
        "whole",
    ),
    "a JPEG that is cut": (
        target(),
        picture(np.random.default_rng(0).integers(0, 255, (64, 64, 3)), file_format="JPEG")[:1000],
        "JPEG",
        BadRequest,
        "whole",
    ),
    "too many pixels": (target(), bomb(MAX_PIXELS, 2), "PNG", TooLarge, "this model takes up to 25,000,000"),
    "more pixels than Pillow warns of": (target(), bomb(2**30, 2**30), "PNG", TooLarge, "this model takes up to"),
    "too many pixels where the size is free": (
        target(height=-1, width=-1),
        bomb(MAX_PIXELS_UNSCALED, 2),
        "PNG",
        TooLarge,
        "this model takes up to 4,000,000",
    ),
    "pixels that are not there": (target(), bomb(1000, 1000), "PNG", BadRequest, "no whole PNG file"),
    "16 bits a channel": (target(channels=1), SIXTEEN_BITS.getvalue(), "PNG", BadRequest, "only 8 bits a channel"),
}


@pytest.mark.parametrize(("into", "body", "kind", "error", "reason"), REFUSED_PICTURES.values(), ids=REFUSED_PICTURES)
def test_no_picture_is_read_of(into: ImageInput, body: bytes, kind: str, error: type[WindlassError], reason: str) -> None:
    with pytest.raises(error) as refusal:
        tensor_of_image(into, body, kind)
    assert reason in refusal.value.message


TYPES = {"n": "int64", "x": "float64", "ok": "bool", "name": "string", "day": "date"}


def test_a_table_is_its_columns_with_values_as_json_has_them() -> None:
    body = '\ufeffday,ok,x,n,name\r\n2024-01-31,true,1e3,-5,"a, ""b"""\r\n,FALSE,,,\r\n\r\n'.encode()
    assert columns_of_csv(body, TYPES) == {
        "n": [-5, None],
        "x": [1000.0, None],
        "ok": [True, False],
        "name": ['a, "b"', None],
        "day": ["2024-01-31", None],
    }


REFUSED_TABLES: dict[str, tuple[bytes, type[WindlassError], str]] = {
    "nothing": (b"", BadRequest, "the table is empty"),
    "a header alone": (b"n,x,ok,name,day\n", BadRequest, "no row below its header"),
    "bytes that are no text": (b"\xff\xfe", BadRequest, "not UTF-8"),
    "a column that is missing": (b"n,x,ok,name\n1,2,true,a\n", BadRequest, "lacks the column 'day'"),
    "a column that is unknown": (b"n,x,ok,name,day,z\n1,2,true,a,b,c\n", BadRequest, "has the column 'z'"),
    "a column twice": (b"n,x,ok,name,day,n\n1,2,true,a,b,1\n", BadRequest, "names a column twice"),
    "a row that is short": (b"n,x,ok,name,day\n1,2\n", BadRequest, "row 0 (counted from 0) has 2 fields, but the header has 5"),
    "a quote that does not end": (b'n,x,ok,name,day\n1,2,true,"a,b\n', BadRequest, "no CSV table"),
    "a field beyond all bounds": (b"n,x,ok,name,day\n1,2,true," + b"a" * 200_000 + b",b\n", BadRequest, "no CSV table"),
    "text among integers": (
        b"n,x,ok,name,day\n1.5,2,true,a,b\n",
        BadData,
        "row 0 (counted from 0), column 'n': '1.5' is no int64",
    ),
    "an integer of a thousand digits": (b"n,x,ok,name,day\n" + b"9" * 1000 + b",2,true,a,b\n", BadData, "column 'n'"),
    "text among numbers": (b"n,x,ok,name,day\n1,1_0,true,a,b\n", BadData, "column 'x': '1_0' is no float64"),
    "a truth value that is none": (b"n,x,ok,name,day\n1,2,yes,a,b\n", BadData, "column 'ok': 'yes' is no bool"),
}


@pytest.mark.parametrize(("body", "error", "reason"), REFUSED_TABLES.values(), ids=REFUSED_TABLES)
def test_no_table_is_read_of(body: bytes, error: type[WindlassError], reason: str) -> None:
    with pytest.raises(error) as refusal:
        columns_of_csv(body, TYPES)
    assert reason in refusal.value.message


PACKED = {"gzip": gzip.compress(PLAIN), "deflate": zlib.compress(PLAIN), "zstd": zstd.compress(PLAIN)}


def encoded_as(coding: str) -> dict[bytes, bytes]:
    return {b"content-encoding": coding.encode()}


@pytest.mark.parametrize("coding", PACKED)
def test_a_packed_body_is_what_it_was(coding: str) -> None:
    assert decoded(PACKED[coding], encoded_as(coding), LIMIT) == PLAIN
    assert decoded(PACKED[coding], encoded_as(coding), len(PLAIN)) == PLAIN
    assert decoded(PACKED[coding], encoded_as(f" {coding.upper()} , identity"), LIMIT) == PLAIN


@pytest.mark.parametrize(
    "headers", [{}, encoded_as("identity"), encoded_as("")], ids=["no header", "identity", "an empty header"]
)
def test_a_body_that_is_not_packed_stays_as_it_is(headers: dict[bytes, bytes]) -> None:
    assert decoded(PLAIN, headers, LIMIT) is PLAIN


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("size", [LIMIT + 1, 30_000_000], ids=["one byte too many", "a bomb"])
def test_a_body_that_grows_too_large_is_refused(coding: str, size: int) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[coding]
    with pytest.raises(TooLarge, match="becomes larger than 100,000 bytes"):
        decoded(pack(b"\0" * size), encoded_as(coding), LIMIT)


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("damage", ["cut", "changed", "followed", "empty"])
def test_a_damaged_body_is_refused(coding: str, damage: str) -> None:
    body = PACKED[coding]
    bad = {"cut": body[:-5], "changed": b"\x77" + body[1:], "followed": body + b"more", "empty": b""}[damage]
    with pytest.raises(BadRequest, match=f"the body is not {coding}"):
        decoded(bad, encoded_as(coding), LIMIT)


def test_a_zstd_window_beyond_the_bound_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    body = packer.compress(PLAIN) + packer.flush()
    with pytest.raises(BadRequest, match="the body is not zstd"):
        decoded(body, encoded_as("zstd"), LIMIT)


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "gzip,zstd", "x" * 2000, "\xff"])
def test_another_coding_is_refused_with_those_that_are_taken(coding: str) -> None:
    with pytest.raises(UnsupportedMedia, match="must be one of gzip, deflate, zstd or none"):
        decoded(PLAIN, {b"content-encoding": coding.encode("latin-1")}, LIMIT)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip, deflate", "gzip"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0", None),
        ("gzip;q=nonsense", None),
        ("GZIP", "gzip"),
    ],
)
def test_a_large_answer_goes_in_the_coding_that_the_client_prefers(accept: str | None, coding: str | None) -> None:
    assert coding_for({} if accept is None else {b"accept-encoding": accept.encode()}) == coding


@pytest.mark.parametrize(("coding", "unpack"), [("gzip", gzip.decompress), ("zstd", zstd.decompress)])
def test_a_packed_answer_says_so(coding: str, unpack: Any) -> None:
    packed = compressed(Encoded(PLAIN, {"Content-Type": "application/json"}), coding)
    assert unpack(packed.body) == PLAIN
    assert packed.headers == {"Content-Type": "application/json", "Content-Encoding": coding, "Vary": "Accept-Encoding"}


def test_a_type_is_read_with_its_parameters_whatever_their_case() -> None:
    found = media.accepted({b"accept": b'text/html, Application/X-NPY; Output="label"; q=0.5'}, "application/x-npy")
    assert found == media.MediaType("application/x-npy", {"output": "label", "q": "0.5"})
    assert media.accepted({b"accept": b"application/x-npy;q=0"}, "application/x-npy") is None
    assert media.accepted({b"accept": b"*/*"}, "application/x-npy") is None
