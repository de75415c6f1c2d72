"""The options of `windlass-infer run` to a run's spec, for people who start the image by hand or from a Job of their own.

    --model digits/3 --dataset digits/1 --split test --output store://predictions/digits
    --model digits --input 'store://raw/new/*.csv' --keep id --output store://predictions/new

Knows neither store nor model.
"""

import argparse
from collections.abc import Mapping

from pydantic import ValidationError

from windlass_core.contracts import InferRun, RunSpec
from windlass_core.errors import BadConfiguration
from windlass_core.run import read_spec
from windlass_infer.batch.options import DEFAULT_NAMESPACE, NAMESPACE_VARIABLE

_FIELDS = {
    "engine": "engine",
    "loss": "allowed_loss",
    "max_batch_rows": "batch_rows",
    "partition_rows": "partition_rows",
    "engines": "engines",
}


def spec_of(options: argparse.Namespace, environment: Mapping[str, str]) -> RunSpec:
    """What is to be done.

    Raises:
        BadConfiguration: the options, or the variable where there are none, do not say it.
    """
    if options.model is None:
        given = [name for name in ("dataset", "input", "output") if getattr(options, name) is not None]
        if given:
            raise BadConfiguration(f"--{given[0]} was given without --model")
        return read_spec(environment)
    if (options.dataset is None) == (options.input is None) or options.output is None:
        raise BadConfiguration("give --output and either --dataset or --input")
    if (options.dataset is None and options.split) or (options.input is None and options.format):
        raise BadConfiguration("--split belongs to --dataset, and --format to --input")
    fields = {field: value for field, name in _FIELDS.items() if (value := getattr(options, name)) is not None}
    if options.dataset:
        fields["input"] = {"dataset": _version("--dataset", options.dataset), "split": options.split or "test"}
    else:
        fields["input"] = {"uri": options.input, "format": options.format or "auto"}
    fields |= {name: given.split(",") for name in ("keep", "columns") if (given := getattr(options, name))}
    namespace = options.namespace or environment.get(NAMESPACE_VARIABLE) or DEFAULT_NAMESPACE
    try:
        return InferRun(namespace=namespace, model=_version("--model", options.model), output=options.output, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadConfiguration(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _version(option: str, text: str) -> dict[str, str | int]:
    name, slash, number = text.partition("/")
    if slash and not (number.isascii() and number.isdecimal()):
        raise BadConfiguration(f"{option} is '{text}'; it must be a name, or name/number")
    return {"name": name, "version": int(number)} if slash else {"name": name}
