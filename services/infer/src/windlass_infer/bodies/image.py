"""Pictures as they are: a PNG or JPEG file becomes one row of a model's only input.

What is done, in this order:

    1. The size is read from the header; a picture of more than MAX_PIXELS is refused before a pixel is decoded. Of several
       frames the first counts. The orientation that a camera notes beside the pixels is not looked at.
    2. The pixels become grey, RGB or RGBA, as the input has 1, 3 or 4 channels; transparency is dropped where there is none
       for it. Pictures of 16 bits a channel are refused.
    3. Where the input fixes height and width, and the picture has others, it is scaled until it covers them, keeping its
       proportions (bilinear, with antialiasing), and its middle is cut out. Where they are free, it stays as it is.
    4. UINT8 inputs get the values 0 to 255. Floating-point ones get (value / 255 - mean) / deviation of each channel, as the
       version's manifest says; without that 0 to 1.
    5. The channels come first or last, as the input has them.

Pure. Knows no HTTP; Pillow is imported with this module, and this module with the first picture.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from windlass_infer.datatypes import DATATYPES, Tensor
from windlass_infer.errors import BadRequest, TooLarge
from windlass_infer.predictor import ImageInput

# A photograph of a telephone has 12 million; decoded to RGB this is 75 MB, one at a time.
MAX_PIXELS = 25_000_000
# Where the input's size is free, the picture becomes the input: 48 MB of float32 in RGB.
MAX_PIXELS_UNSCALED = 4_000_000

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_WHITE = 255

# Pillow's own bound is far above ours, and it only warns there.
Image.MAX_IMAGE_PIXELS = None


def tensor_of_image(target: ImageInput, body: bytes, file_format: str) -> Tensor:
    """The input of one row that a picture becomes.

    Args:
        target: the input.
        body: the file.
        file_format: PNG or JPEG; a file of another format is refused.

    Raises:
        BadRequest: it is no such file, or ends early.
        TooLarge: it has too many pixels.
    """
    picture = _opened(body, file_format)
    fixed = target.height > 0 and target.width > 0
    limit = MAX_PIXELS if fixed else MAX_PIXELS_UNSCALED
    if picture.width * picture.height > limit:
        raise TooLarge(f"the picture has {picture.width} x {picture.height} pixels; this model takes up to {limit:,}")
    if picture.mode not in _EIGHT_BITS:
        raise BadRequest(f"the picture's pixels are {picture.mode}; only 8 bits a channel are read")
    try:
        pixels = picture.convert(_MODES[target.channels])
        if fixed and pixels.size != (target.width, target.height):
            pixels = ImageOps.fit(pixels, (target.width, target.height), Image.Resampling.BILINEAR)
    # A damaged file makes Pillow's decoders raise whatever their parsers do; a warning would come for a file that is odd.
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, MemoryError, Warning):
        raise BadRequest(f"the body is no whole {file_format} file") from None
    return Tensor(target.signature.name, target.signature.datatype, _scaled(target, np.asarray(pixels)))


def _opened(body: bytes, file_format: str) -> Image.Image:
    try:
        return Image.open(BytesIO(body), formats=[file_format])
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, Warning):
        raise BadRequest(f"the body is no {file_format} file") from None


def _scaled(target: ImageInput, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Pixels [height, width] or [height, width, channels] as one row of the input."""
    values: NDArray[Any] = pixels.reshape(*pixels.shape[:2], target.channels)
    dtype = DATATYPES[target.signature.datatype].dtype
    if target.signature.datatype != "UINT8":
        mean, deviation = (np.asarray(one, dtype=np.float32) for one in (target.mean, target.deviation))
        # Written as one multiplication and one addition of each value.
        values = values * (1 / (_WHITE * deviation)) - mean / deviation
    if not target.channels_last:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, dtype=dtype)[np.newaxis]
