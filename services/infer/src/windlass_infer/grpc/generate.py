"""Makes `open_inference_pb2.py` and its types from `open_inference.proto`, or says that they are stale.

    python -m windlass_infer.grpc.generate            write them
    python -m windlass_infer.grpc.generate --check    exit code 1 when what is there is not what would be written

Needs grpcio-tools, which only development has. The same tools make the same bytes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROTO = HERE / "open_inference.proto"
MADE = ("open_inference_pb2.py", "open_inference_pb2.pyi")

# protoc puts messages into one pool for the whole process, where a second definition of a name is an error. Programs that also
# import a client of the protocol, whose messages have the same names, need ours to be in a pool of its own.
_COMMON_POOL = "_descriptor_pool.Default()"
_OWN_POOL = "_descriptor_pool.DescriptorPool()"


def generate() -> dict[str, str]:
    """The text of each made file by its name."""
    from grpc_tools import protoc  # only development has it

    with tempfile.TemporaryDirectory() as folder:
        status = protoc.main(["protoc", f"-I{HERE}", f"--python_out={folder}", f"--pyi_out={folder}", PROTO.name])
        if status:
            raise SystemExit(f"protoc ended with {status}")
        made = {name: (Path(folder) / name).read_text() for name in MADE}
    module = made[MADE[0]]
    if module.count(_COMMON_POOL) != 1:
        raise SystemExit(f"protoc writes {MADE[0]} otherwise than it did: {_COMMON_POOL} is not there once")
    return made | {MADE[0]: module.replace(_COMMON_POOL, _OWN_POOL)}


def main(arguments: list[str] | None = None) -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say whether what is there is current")
    check = parser.parse_args(arguments).check
    made = generate()
    stale = [name for name, text in made.items() if not (HERE / name).is_file() or (HERE / name).read_text() != text]
    for name in stale:
        if check:
            print(f"{name} is stale; make generate writes it", file=sys.stderr)  # noqa: T201  # a command
        else:
            (HERE / name).write_text(made[name])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
