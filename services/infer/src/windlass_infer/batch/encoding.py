"""Columns of a partition to the arrays of the engine, as a request's rows become them; a wrong row is named by file and number.

Versions with a transform take a column for each of theirs. Tensor versions take a column for each input (numbers, or lists of
them as `tensors.py` says), or the columns that the spec names as the matrix of an only input. Knows no files and no engine.
"""

import re
from collections.abc import Callable, Sequence

from windlass_core.errors import BadConfiguration, BadData, WindlassError
from windlass_core.raw_files import Format
from windlass_infer.batch import tensors
from windlass_infer.batch.columns import values_of
from windlass_infer.batch.reading import Columns, Place
from windlass_infer.engine import Arrays
from windlass_infer.errors import BadRequest
from windlass_infer.predictor import Predictor
from windlass_infer.tabular import TabularPredictor

# How complaints about the only row of a request begin.
_ONLY_ROW = re.compile(r"^(row|instance) 0( \(counted from 0\))?[:,] ")


class Encoder:
    """Translates for one version and one format.

    Attributes:
        columns: names of those that it needs.
    """

    def __init__(self, predictor: Predictor, format_: Format, matrix: Sequence[str]) -> None:
        """Raises BadConfiguration when `matrix` names columns, but the version takes no matrix of so many."""
        self._format = format_
        self.columns: tuple[str, ...]
        self._arrays: Callable[[Columns], Arrays]
        if isinstance(predictor, TabularPredictor):
            if matrix:
                raise BadConfiguration("`columns` is for tensor versions; this one names its own columns")
            self._tabular = predictor
            self.columns = tuple(predictor.columns)
            self._arrays = self._of_table
        elif matrix:
            self.columns = tuple(matrix)
            self._arrays = tensors.matrix(predictor, format_, self.columns)
        else:
            self.columns = tuple(signature.name for signature in predictor.inputs)
            self._arrays = tensors.by_input(predictor, format_)

    def encode(self, columns: Columns, place: Place, file: str) -> Arrays:
        """What the engine is given for the rows of a partition.

        Raises:
            BadData: a row cannot be encoded; names file and row.
        """
        needed = {name: columns[name] for name in self.columns}

        def part(start: int, end: int) -> Arrays:
            return self._arrays({name: column[start:end] for name, column in needed.items()})

        try:
            return self._arrays(needed)
        except (BadData, BadRequest) as error:
            raise located(error, lambda start, end: part(start, end), place, file) from error

    def _of_table(self, columns: Columns) -> Arrays:
        kinds = self._tabular.columns
        values = {name: values_of(columns[name], name, kinds[name], self._format) for name in self.columns}
        return self._tabular.arrays_of_columns(values)


def located(error: WindlassError, attempt: Callable[[int, int], object], place: Place, file: str) -> BadData:
    """The same complaint about the first row that is refused alone; about all rows where each alone is taken.

    Args:
        error: what was raised for the whole partition.
        attempt: does the same for rows `start` to `end` of it, and raises BadData or BadRequest.
        place: of the partition.
        file: its name for messages.
    """
    start, end = 0, place.rows
    while end - start > 1:
        middle = (start + end) // 2
        start, end = (start, middle) if _refused(attempt, start, middle) else (middle, end)
    alone = _refused(attempt, start, end)
    if alone is None:
        rows = f"rows {place.first + 1} to {place.first + place.rows} of {file}"
        return BadData(f"{rows}: {error.message}", reason=_reason(error))
    return BadData(f"row {place.first + start + 1} of {file}: {_ONLY_ROW.sub('', alone.message)}", reason=_reason(alone))


def _refused(attempt: Callable[[int, int], object], start: int, end: int) -> WindlassError | None:
    try:
        attempt(start, end)
    except (BadData, BadRequest) as error:
        return error
    return None


def _reason(error: WindlassError) -> str | None:
    """That of bad data; the reasons of requests are of requests alone."""
    return error.reason if isinstance(error, BadData) else None
