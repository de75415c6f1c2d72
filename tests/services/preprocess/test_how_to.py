"""The commands of docs/how-to/upload-data.md, run as they stand there, against a server of the API."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from windlass_core.serving import BackgroundServer
from windlass_core.store import Store
from windlass_preprocess.app import create

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "upload-data.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path) -> None:
    variables, whole, announced, _, look = BLOCKS  # the fourth goes on with an upload that was interrupted
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    environment = {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}
    with BackgroundServer(create(environment), 0, host="127.0.0.1") as server:
        script = "\n".join(["set -euo pipefail", variables, whole, announced, look]).replace(
            "localhost:8001", f"127.0.0.1:{server.port}"
        )
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy.csv").read_text() == "x,y\n1,2\n"
    assert list(Store.open("default", environment).list("raw")) == []


@pytest.mark.parametrize("kept", [0, 3_000_000])
def test_an_upload_goes_on_by_the_commands_of_the_page(tmp_path: Path, kept: int) -> None:
    variables, _, announce, resume, _ = BLOCKS
    data = os.urandom(4_000_000)
    (tmp_path / "data.csv").write_bytes(data)
    environment = {"WINDLASS_STORE_URL": f"file://{tmp_path / 'store'}"}
    begin = f'head -c {kept} $FILE | curl --silent --upload-file - --header "Content-Range: bytes 0-{kept - 1}/{len(data)}"'
    digest = announce.splitlines()[0]
    with BackgroundServer(create(environment), 0, host="127.0.0.1") as server:
        first = [f'{begin} --header "X-Content-SHA256: $SHA" $URL'] if kept else []
        script = "\n".join(["set -euo pipefail", variables, digest, *first, resume, "echo; echo $OFFSET"])
        script = script.replace("localhost:8001", f"127.0.0.1:{server.port}")
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(kept)
    assert Store.open("default", environment).read("raw/data.csv") == data
