"""The commands of docs/how-to/ask-a-model.md, run as they stand there, and its tables, held against the code."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from windlass_infer.bodies.choice import IMAGE_FORMATS
from windlass_infer.bodies.compression import COMPRESS_FROM_BYTES
from windlass_infer.bodies.image import MAX_PIXELS, MAX_PIXELS_UNSCALED
from windlass_infer.bodies.npy import NPY_TYPE
from windlass_infer.bodies.table import CSV_TYPE
from windlass_infer.intake import MAX_BODY_BYTES
from windlass_infer.protocol import BINARY_TYPE, EXTENSIONS, JSON_TYPE

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "ask-a-model.md").read_text()


def test_the_commands_work(server: Any, tmp_path: Path) -> None:
    script = "set -eu\n" + "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    variables = {"URL": server.address, "NAME": server.spec.name}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"digest"' in done.stdout
    assert (tmp_path / "openapi.json").stat().st_size > 1000


def test_the_tables_name_every_type_and_extension() -> None:
    for name in (JSON_TYPE, NPY_TYPE, BINARY_TYPE, CSV_TYPE, *IMAGE_FORMATS, *EXTENSIONS, "model_repository"):
        assert f"`{name}`" in PAGE, name


def test_the_bounds_are_those_of_the_code() -> None:
    assert f"A body may have {MAX_BODY_BYTES // 2**20} MiB" in PAGE
    assert f"an answer of {COMPRESS_FROM_BYTES // 1024} KiB and more" in PAGE
    assert f"more than {MAX_PIXELS // 10**6} million pixels ({MAX_PIXELS_UNSCALED // 10**6} million where" in PAGE
