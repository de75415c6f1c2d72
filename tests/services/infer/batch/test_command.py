"""The options of the command line say the same as a run's spec."""

import argparse
from typing import Any

import pytest

from windlass_core.contracts import InferRun
from windlass_core.errors import BadConfiguration
from windlass_infer.batch.command import spec_of
from windlass_infer.batch.options import add_options

LEAST = ["--model", "digits", "--input", "store://raw/x.csv", "--output", "store://out"]


def spec(arguments: list[str], **environment: str) -> Any:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return spec_of(parser.parse_args(arguments), environment)


GIVEN: dict[str, tuple[list[str], dict[str, Any]]] = {
    "the newest version and files": (
        LEAST,
        {"model": {"name": "digits"}, "input": {"uri": "store://raw/x.csv", "format": "auto"}, "namespace": "default"},
    ),
    "a version by its number": ([*LEAST, "--model", "digits/3"], {"model": {"name": "digits", "version": 3}}),
    "the test split where none is named": (
        ["--model", "m", "--dataset", "d/2", "--output", "store://out"],
        {"input": {"dataset": {"name": "d", "version": 2}, "split": "test"}},
    ),
    "a split": (
        ["--model", "m", "--dataset", "d", "--split", "all", "--output", "store://out"],
        {"input": {"dataset": {"name": "d"}, "split": "all"}},
    ),
    "lists of columns": ([*LEAST, "--keep", "id,x y", "--columns", "a,b"], {"keep": ["id", "x y"], "columns": ["a", "b"]}),
    "how it is computed": (
        [
            *LEAST,
            "--engine",
            "openvino",
            "--allowed-loss",
            "0.01",
            "--batch-rows",
            "8",
            "--partition-rows",
            "9",
            "--engines",
            "2",
        ],
        {"engine": "openvino", "loss": 0.01, "maxBatchRows": 8, "partitionRows": 9, "engines": 2},
    ),
    "a namespace": ([*LEAST, "--namespace", "team"], {"namespace": "team"}),
}


@pytest.mark.parametrize(("arguments", "expected"), GIVEN.values(), ids=GIVEN)
def test_options_name(arguments: list[str], expected: dict[str, Any]) -> None:
    found = spec(arguments).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert {name: found[name] for name in expected} == expected


def test_the_namespace_is_that_of_the_pod_where_none_is_named() -> None:
    assert spec(LEAST, POD_NAMESPACE="team").namespace == "team"


def test_without_options_the_variable_says_what_to_do() -> None:
    expected = spec(LEAST)
    assert isinstance(expected, InferRun)
    assert spec([], WINDLASS_RUN_SPEC=expected.to_json_text()) == expected


REFUSED: dict[str, tuple[list[str], str]] = {
    "nothing at all": ([], "WINDLASS_RUN_SPEC is not set"),
    "no model": (LEAST[2:], "--input was given without --model"),
    "no output": (LEAST[:4], "give --output"),
    "two inputs": ([*LEAST, "--dataset", "d"], "either --dataset or --input"),
    "a split of files": ([*LEAST, "--split", "test"], "--split belongs to --dataset"),
    "a version that is no number": ([*LEAST, "--model", "digits/newest"], "--model is 'digits/newest'"),
    "a URI of another kind": ([*LEAST, "--input", "s3://bucket/x.csv"], "input"),
    "no rows": ([*LEAST, "--batch-rows", "0"], "greater than or equal to 1"),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED)
def test_options_are_refused_for(arguments: list[str], sentence: str) -> None:
    with pytest.raises(BadConfiguration) as raised:
        spec(arguments)
    assert sentence in raised.value.message
