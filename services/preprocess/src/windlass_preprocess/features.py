"""What one column becomes: a feature that a model computes with, or the label that it learns.

Each feature writes its own part of the encoded rows; `transform.py` puts them side by side. Fitted values stand in the models
themselves, so that their JSON is all there is to keep. Knows no files and no database.
"""

from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

from windlass_core.errors import BadData
from windlass_preprocess.values import NO_CATEGORY, ColumnValues, codes_of, numbers_of, place

Float32Matrix = NDArray[np.float32]  # [rows, numbers]
Category = StrictBool | StrictInt | StrictStr


class TransformModel(BaseModel):
    """Base of everything in transform.json."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class NumericFeature(TransformModel):
    """One column of numbers, booleans, dates or timestamps; one float32 number."""

    kind: Literal["numeric"] = "numeric"
    column: str
    type: Literal["int64", "float64", "bool", "date", "timestamp"]
    offset: FiniteFloat = Field(default=0.0, description="Subtracted first: the mean, the minimum or 0.")
    scale: FiniteFloat = Field(default=1.0, gt=0, description="Divided by: the deviation, the range or 1.")
    fill: FiniteFloat | None = Field(default=None, description="What a missing value counts as; without it one is refused.")

    @property
    def width(self) -> int:
        """Numbers that this feature fills."""
        return 1

    @property
    def names(self) -> list[str]:
        """A name for each of its numbers."""
        return [self.column]

    def write(self, values: ColumnValues, out: Float32Matrix) -> None:
        """Fill `out`, [rows, 1], from the column's values [rows]. Raises BadData."""
        numbers = numbers_of(self.column, self.type, values, nullable=self.fill is not None)
        if self.fill is not None:
            numbers[np.isnan(numbers)] = self.fill
        with np.errstate(over="ignore"):  # the caller checks all columns at once
            out[:, 0] = (numbers - self.offset) / self.scale


class CategoricalFeature(TransformModel):
    """One column of categories; one float32 number a category (oneHot) or one in all (ordinal)."""

    kind: Literal["categorical"] = "categorical"
    column: str
    type: Literal["string", "int64", "bool"]
    categories: list[Category] = Field(min_length=1, description="All categories of the data, sorted.")
    encoding: Literal["oneHot", "ordinal"] = "oneHot"
    unknown: Literal["error", "ignore"] = "error"
    nullable: bool = Field(default=False, description="Whether a value may be missing.")

    @property
    def width(self) -> int:
        """Numbers that this feature fills."""
        return len(self.categories) if self.encoding == "oneHot" else 1

    @property
    def names(self) -> list[str]:
        """A name for each of its numbers."""
        return [f"{self.column}={category}" for category in self.categories] if self.encoding == "oneHot" else [self.column]

    def write(self, values: ColumnValues, out: Float32Matrix) -> None:
        """Fill `out`, [rows, width], from the column's values [rows]. Raises BadData."""
        codes = codes_of(self.column, self.type, values, self._index, nullable=self.nullable, strict=self.unknown == "error")
        if self.encoding == "ordinal":
            out[:, 0] = codes
            return
        out[...] = 0
        known = np.flatnonzero(codes != NO_CATEGORY)
        out[known, codes[known]] = 1

    @cached_property
    def _index(self) -> dict[Any, int]:
        return {category: index for index, category in enumerate(self.categories)}


Feature = Annotated[NumericFeature | CategoricalFeature, Field(discriminator="kind")]


class ClassLabel(TransformModel):
    """A label that names one of a few classes."""

    kind: Literal["classes"] = "classes"
    column: str
    type: Literal["string", "int64", "bool"]
    classes: list[Category] = Field(min_length=2, description="All classes as they stand in the data, sorted.")

    def encode(self, values: ColumnValues) -> NDArray[np.int64]:
        """Index of each label [rows] in `classes`. Raises BadData for a label that is missing or not among them."""
        return codes_of(self.column, self.type, values, self._index, nullable=False, strict=True)

    def decode(self, indices: ArrayLike) -> list[bool | int | str]:
        """The labels at these indices [rows], as they stand in the data."""
        return [self.classes[index] for index in np.asarray(indices, dtype=np.int64).tolist()]

    @cached_property
    def _index(self) -> dict[Any, int]:
        return {label: index for index, label in enumerate(self.classes)}


class QuantityLabel(TransformModel):
    """A label that is a quantity. It is encoded as it stands; mean and deviation are for recipes that scale it inside."""

    kind: Literal["quantity"] = "quantity"
    column: str
    type: Literal["int64", "float64"]
    mean: FiniteFloat = Field(description="Of the training split.")
    deviation: FiniteFloat = Field(gt=0, description="Standard deviation of the training split; 1 where all are equal.")

    def encode(self, values: ColumnValues) -> NDArray[np.float32]:
        """The quantities [rows] as float32. Raises BadData for one that is missing or not finite in float32."""
        with np.errstate(over="ignore"):
            encoded = numbers_of(self.column, self.type, values, nullable=False).astype(np.float32)
        if not np.isfinite(encoded).all():
            row = int(np.flatnonzero(~np.isfinite(encoded))[0])
            raise BadData(f"{place(row, self.column)}: the number is too large to compute with")
        return encoded

    def decode(self, predictions: ArrayLike) -> list[float]:
        """The quantities [rows] that a model predicted."""
        return [float(value) for value in np.asarray(predictions, dtype=np.float64).tolist()]


Label = Annotated[ClassLabel | QuantityLabel, Field(discriminator="kind")]
