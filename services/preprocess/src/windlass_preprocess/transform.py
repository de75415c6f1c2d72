"""The fitted transform: how typed columns become the numbers that a model computes with, and labels become targets.

It is fitted once (`fitting.py`), stored as `transform.json` in the Dataset version and copied into every Model version, so
training and inference compute with the same numbers. Each feature turns one column into one or more float32 numbers:

    numeric       (x - offset) / scale in float64, then float32; a missing value counts as `fill`. Booleans count as 0 and 1,
                  dates as days and timestamps as seconds since 1970-01-01 (UTC).
    categorical   oneHot: one number a category; ordinal: the index of the category. A missing value, and an unknown one
                  where `unknown` is ignore, is none of them: all zeros, or -1.

Columns are given as arrays:

    int64, float64, bool   arrays of that kind; in a float array NaN is a missing value
    date, timestamp        datetime64 arrays; NaT is a missing value
    string                 object or str arrays
    any of them            object arrays or sequences of Python values, as JSON gives them; None is a missing value

Needs numpy, pydantic and the standard library only; knows no files, no database and no HTTP.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from windlass_core.errors import BadData
from windlass_preprocess.features import (
    CategoricalFeature,
    ClassLabel,
    Feature,
    Float32Matrix,
    Label,
    NumericFeature,
    QuantityLabel,
    TransformModel,
)
from windlass_preprocess.values import ColumnValues, listed, place, values_of

__all__ = ["TRANSFORM_FILE", "CategoricalFeature", "ClassLabel", "NumericFeature", "QuantityLabel", "Transform"]

TRANSFORM_FILE = "transform.json"
Instance = Mapping[str, Any] | Sequence[Any]
# Integers from here on are not exact in float64, which the quick way computes in.
_EXACT_INTEGERS = 2**53


class Transform(TransformModel):
    """All features of a Dataset version in the order of its columns, and its label."""

    schema_version: Literal[1] = 1
    features: list[Feature] = Field(min_length=1)
    label: Label | None = None

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        names = [*self.columns, *([self.label.column] if self.label else [])]
        if len(set(names)) < len(names):
            raise ValueError("two features, or a feature and the label, are of the same column")
        return self

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns that features are made of, in order."""
        return [feature.column for feature in self.features]

    @cached_property
    def feature_count(self) -> int:
        """Numbers of one encoded row."""
        return sum(feature.width for feature in self.features)

    @cached_property
    def feature_names(self) -> list[str]:
        """A name for each number of an encoded row: the column, or column=category."""
        return [name for feature in self.features for name in feature.names]

    def to_json(self) -> bytes:
        """The text of transform.json; the same transform always gives the same bytes."""
        return self.model_dump_json(by_alias=True, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Read transform.json.

        Raises:
            pydantic.ValidationError: it is not a transform that this release knows.
        """
        return cls.model_validate_json(data)

    def apply_columns(self, columns: Mapping[str, ColumnValues]) -> Float32Matrix:
        """Encode typed columns.

        Args:
            columns: an array of the same number of rows for each name in `self.columns`, as the module's docstring says.
                Others are not looked at, so that a whole table with its label can be given.

        Returns:
            float32, [rows, feature_count], every number finite.

        Raises:
            BadData: a column is missing, of another length or type, or has a value that cannot be encoded; names row and
                column.
        """
        if missing := [name for name in self.columns if name not in columns]:
            raise BadData(f"missing: {_columns(missing)}; expected: {_columns(self.columns)}")
        arrays = [values_of(columns[name]) for name in self.columns]
        rows = len(arrays[0])
        for name, array in zip(self.columns, arrays, strict=True):
            if len(array) != rows:
                raise BadData(f"column '{name}' has {len(array)} rows, but column '{self.columns[0]}' has {rows}")
        encoded = np.empty((rows, self.feature_count), dtype=np.float32)
        at = 0
        for feature, array in zip(self.features, arrays, strict=True):
            feature.write(array, encoded[:, at : at + feature.width])
            at += feature.width
        return self._checked(encoded)

    def apply_rows(self, instances: Sequence[Instance]) -> Float32Matrix:
        """Encode rows as JSON gives them; see `rows_to_columns` for what a row may be.

        Returns:
            float32, [rows, feature_count], every number finite.

        Raises:
            BadData: a row cannot be encoded; names row and column.
        """
        numbers = self._plain_numbers(instances)
        return self.apply_columns(self.rows_to_columns(instances)) if numbers is None else self._scaled(numbers)

    def apply_matrix(self, rows: NDArray[Any]) -> Float32Matrix:
        """Encode rows of numbers, as tensors give them.

        Args:
            rows: numbers of any kind, [rows, columns], in the order of `self.columns`; NaN is a missing value.

        Returns:
            float32, [rows, feature_count], every number finite.

        Raises:
            BadData: a value cannot be encoded, or a column takes no numbers; names row and column.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise BadData(f"the array has shape {list(rows.shape)}, but a row has {len(self.columns)} values")
        numbers = rows.astype(np.float64)
        if len(self._numeric[0]) and self._plain(numbers):
            return self._scaled(numbers)
        return self.apply_columns(dict(zip(self.columns, rows.T, strict=True)))

    def _scaled(self, numbers: NDArray[np.float64]) -> Float32Matrix:
        offsets, scales, _ = self._numeric
        with np.errstate(over="ignore"):
            return self._checked(((numbers - offsets) / scales).astype(np.float32))

    def rows_to_columns(self, instances: Sequence[Instance]) -> dict[str, NDArray[Any]]:
        """Turn rows into columns that `apply_columns` takes.

        Args:
            instances: each row an object by column name, or a list in the order of `self.columns`.

        Raises:
            BadData: a row is neither, or has too few, too many, unknown or missing columns, or has the label: accepting what
                the model is to predict would hide a mistake. Values are checked by `apply_columns`.
        """
        rows = [self._row(number, instance) for number, instance in enumerate(instances)]
        by_column: Any = zip(*rows, strict=True) if rows else repeat((), len(self.columns))
        return {name: values_of(values) for name, values in zip(self.columns, by_column, strict=True)}

    def _row(self, number: int, instance: Instance) -> Sequence[Any]:
        if isinstance(instance, Mapping):
            for name in instance:
                if name not in self._column_set:
                    raise BadData(f"row {number} (counted from 0): {self._why_unknown(name)}")
            if missing := [name for name in self.columns if name not in instance]:
                raise BadData(f"row {number} (counted from 0): missing: {_columns(missing)}; null stands for no value")
            return [instance[name] for name in self.columns]
        if not isinstance(instance, list | tuple):
            raise BadData(
                f"row {number} (counted from 0): expected an object of named columns or a list of values, "
                f"not {type(instance).__name__}"
            )
        if len(instance) != len(self.features):
            raise BadData(
                f"row {number} (counted from 0): has {len(instance)} values, but there are {len(self.features)} columns: "
                f"{listed(self.columns)}"
            )
        return instance

    def _why_unknown(self, name: str) -> str:
        if self.label is not None and name == self.label.column:
            return f"column '{name}' is the label, which is what the model predicts; leave it out"
        return f"column '{name}' is unknown; expected: {listed(self.columns)}"

    def _plain_numbers(self, instances: Sequence[Instance]) -> NDArray[np.float64] | None:
        """The rows as float64 [rows, columns], where they hold nothing but valid numbers and every feature is one.

        The quick way for most requests, a tenth of the time. Whatever it finds odd it leaves, by None, to the careful way,
        which handles missing values and tells what is wrong.
        """
        width = len(self._numeric[0])
        if not width or not instances:
            return None
        rows = []
        for instance in instances:
            if type(instance) not in (list, dict) or len(instance) != width:
                return None
            try:
                rows.append(instance if type(instance) is list else self._pick(instance))
            except KeyError:
                return None
        values = list(chain.from_iterable(rows))
        if not set(map(type, values)) <= {int, float}:
            return None
        try:
            numbers = np.fromiter(values, dtype=np.float64, count=len(values)).reshape(-1, width)
        except OverflowError:
            return None
        return numbers if self._plain(numbers) else None

    def _plain(self, numbers: NDArray[np.float64]) -> bool:
        """Whether all are finite, and whole and exact where the column is one of integers."""
        whole = numbers[:, self._numeric[2]]
        return bool(np.isfinite(numbers).all() and (whole == np.trunc(whole)).all() and (np.abs(whole) < _EXACT_INTEGERS).all())

    @cached_property
    def _numeric(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Offsets, scales, and whether it is an integer, of each feature [features]; empty unless all are plain numbers."""
        features = [one for one in self.features if isinstance(one, NumericFeature) and one.type in ("int64", "float64")]
        if len(features) < len(self.features):
            features = []
        return (
            np.array([feature.offset for feature in features], dtype=np.float64),
            np.array([feature.scale for feature in features], dtype=np.float64),
            np.array([feature.type == "int64" for feature in features], dtype=np.bool_),
        )

    @cached_property
    def _pick(self) -> Any:
        """Takes the values of an object in the order of the columns."""
        if len(self.columns) == 1:
            name = self.columns[0]
            return lambda instance: (instance[name],)
        return itemgetter(*self.columns)

    @cached_property
    def _column_set(self) -> frozenset[str]:
        return frozenset(self.columns)

    def _checked(self, encoded: Float32Matrix) -> Float32Matrix:
        if not np.isfinite(encoded).all():
            row, number = (int(index) for index in np.argwhere(~np.isfinite(encoded))[0])
            raise BadData(f"{place(row, self.feature_names[number])}: the number is too large to compute with")
        return encoded


def _columns(names: Sequence[str]) -> str:
    return f"{'column' if len(names) == 1 else 'columns'} {listed(names)}"
