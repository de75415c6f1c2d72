"""Which bodies a model takes, and the arrays that its engine is given for one.

    application/json                every model
    application/x-npy               a model with one input of numbers
    application/octet-stream        the same, the bare values
    image/png, image/jpeg           a model whose one input has the shape of pictures
    text/csv                        a model of columns

Pure. Knows no HTTP framework and no protocol: `questions.py` reads JSON itself.
"""

from functools import lru_cache

from windlass_infer.bodies.media import Headers, MediaType, content_codings, content_type
from windlass_infer.bodies.npy import NPY_TYPE, read_npy
from windlass_infer.bodies.raw import shape_follows, tensor_of_raw
from windlass_infer.bodies.table import CSV_TYPE, columns_of_csv
from windlass_infer.engine import Arrays
from windlass_infer.errors import UnsupportedMedia
from windlass_infer.predictor import Predictor
from windlass_infer.protocol import BINARY_TYPE, JSON_TYPE
from windlass_infer.tabular import TabularPredictor

IMAGE_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
# What curl says of a body when it is not told what to say.
_FORM_TYPE = "application/x-www-form-urlencoded"

# Bodies beyond this, and all that are unpacked or decoded, are read on a thread of their own: reading them stops the others
# while it lasts.
LARGE_BODY_BYTES = 64 * 1024


def takes_long(body: bytes, headers: Headers) -> bool:
    """Whether reading this body would stop the event loop for longer than a hand-over to a thread costs."""
    if len(body) > LARGE_BODY_BYTES or content_codings(headers):
        return True
    return headers.get(b"content-type", b"").lstrip()[:6].lower() == b"image/"


def taken_types(predictor: Predictor) -> list[str]:
    """Media types of the bodies that this model takes, JSON first."""
    types = [JSON_TYPE]
    if predictor.only_input is not None:
        types += [NPY_TYPE, BINARY_TYPE] if shape_follows(predictor.only_input) else [NPY_TYPE]
    if predictor.image is not None:
        types += IMAGE_FORMATS
    if isinstance(predictor, TabularPredictor):
        types.append(CSV_TYPE)
    return types


def is_json(headers: Headers) -> bool:
    """Whether a body is JSON: it says so, or says nothing of itself."""
    value = headers.get(b"content-type")
    return not value or _says_json(value)


@lru_cache(maxsize=64)  # clients say the same of every body
def _says_json(content_type_: bytes) -> bool:
    media = content_type({b"content-type": content_type_})
    return media is None or media.name in (JSON_TYPE, _FORM_TYPE)


def arrays_of_body(predictor: Predictor, body: bytes, headers: Headers) -> Arrays:
    """What the engine is given for a body that is not JSON.

    Raises:
        UnsupportedMedia: the model does not take bodies of this type; names those that it takes.
        BadRequest: the body is not what it says it is, or does not fit the model's input.
        TooLarge: it becomes too large.
        BadData: a value cannot be computed with; names row and column.
    """
    media = content_type(headers) or MediaType(JSON_TYPE)
    taken = taken_types(predictor)
    if media.name not in taken:
        raise UnsupportedMedia(f"this model takes bodies of the types {', '.join(taken)}, not {media.name[:60]!r}")
    if isinstance(predictor, TabularPredictor) and media.name == CSV_TYPE:
        return predictor.arrays_of_columns(columns_of_csv(body, predictor.columns))
    if predictor.image is not None and media.name in IMAGE_FORMATS:
        # Pillow takes 40 ms to import, and most models see no pictures.
        from windlass_infer.bodies.image import tensor_of_image

        return predictor.arrays_of_tensors([tensor_of_image(predictor.image, body, IMAGE_FORMATS[media.name])])
    assert predictor.only_input is not None  # noqa: S101  # else neither type were taken
    if media.name == NPY_TYPE:
        return predictor.arrays_of_tensors([read_npy(predictor.only_input.name, body)])
    return predictor.arrays_of_tensors([tensor_of_raw(predictor.only_input, body)])
