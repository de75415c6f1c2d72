"""How many rows an engine is given at once, and how many a part has, by what a row takes."""

import pytest

from windlass_infer.batch.run import batch_rows, partition_rows
from windlass_infer.engine import EngineSignature, TensorSignature


def signature(values: int) -> EngineSignature:
    """Of rows with so many floats in and one out."""
    return EngineSignature((TensorSignature("x", "FP32", (-1, values)),), (TensorSignature("y", "FP32", (-1, 1)),))


@pytest.mark.parametrize(
    ("values", "batch", "partition"),
    [
        (10, 512, 65_536),
        (63, 512, 65_536),
        (127, 512, 32_768),
        (128, 256, 32_512),
        (255, 256, 16_384),
        (256, 128, 16_256),
        (3 * 64 * 64, 128, 256),
        (3 * 640 * 640, 128, 128),
        (-1, 128, 4_032 // 128 * 128),
    ],
    ids=[
        "ten numbers",
        "256 bytes",
        "512 bytes",
        "a little more than 512",
        "1,024 bytes",
        "a little more than 1,024",
        "a small picture",
        "a large picture",
        "a size that each row chooses",
    ],
)
def test_small_rows_go_together_by_hundreds_and_large_ones_as_in_serving(values: int, batch: int, partition: int) -> None:
    assert batch_rows(signature(values)) == batch
    assert partition_rows(signature(values), batch) == partition
