"""The options of `windlass-infer run`. Imports nothing but argparse, because the parent of serving processes reads them too."""

import argparse

# Where a pod names its namespace, and the namespace where nothing does.
NAMESPACE_VARIABLE, DEFAULT_NAMESPACE = "POD_NAMESPACE", "default"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options; without --model the run is the one in WINDLASS_RUN_SPEC."""
    add = parser.add_argument
    add("--model", metavar="NAME[/VERSION]", help="the Model and its version; the newest without a number")
    add("--dataset", metavar="NAME[/VERSION]", help="predict for the rows of a Dataset version")
    add("--split", choices=["train", "validation", "test", "all"], help="of the Dataset version (test)")
    add("--input", metavar="URI", help="predict for raw files: store:// URI of a file, a folder (ends with /) or a glob")
    add("--format", choices=["csv", "json", "parquet"], help="of the raw files; by default their names tell it")
    add("--output", metavar="URI", help="store:// URI of a folder for this run alone")
    add("--keep", metavar="A,B", help="columns of the input to write beside the predictions")
    add("--columns", metavar="A,B", help="for a tensor version of one matrix: the columns that make it up, in order")
    add("--namespace", help=f"whose part of the store is meant ({NAMESPACE_VARIABLE}, else {DEFAULT_NAMESPACE})")
    add("--engine", choices=["auto", "onnxruntime", "openvino", "torch"], help="what runs the program (auto)")
    add("--allowed-loss", type=float, help="how far answers may be from float32; none but rounding without it")
    add("--batch-rows", type=int, help="rows that the engine is given at once")
    add("--partition-rows", type=int, help="rows of one part of the output")
    add("--engines", type=int, help="engines that run at once (one for each core)")
