from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass_core.errors import BadData
from windlass_preprocess.columns import LARGEST_NUMBER, TableColumn
from windlass_preprocess.fitting import fit
from windlass_preprocess.profile import Moments
from windlass_preprocess.steps import Encoded, Scaled
from windlass_preprocess.transform import Transform

NUMBERS = st.floats(-LARGEST_NUMBER, LARGEST_NUMBER, allow_nan=False)
X = TableColumn("x", "c0", "float64", nullable=False)


def moments_of(values: list[float]) -> Moments:
    array = np.array(values)
    return Moments(float(array.mean()), float(array.std()), float(array.min()), float(array.max()))


@given(values=st.lists(NUMBERS, min_size=1, max_size=20), method=st.sampled_from(["standard", "minMax", "none"]))
def test_whatever_numbers_it_is_fitted_on_it_makes_finite_ones_of_them(
    values: list[float], method: Literal["standard", "minMax", "none"]
) -> None:
    transform = fit([X], {"x": Scaled(method)}, {"x": moments_of(values)}, {}, None)
    encoded = transform.apply_columns({"x": np.array(values)})
    assert np.isfinite(encoded).all()
    if method == "minMax":
        assert (encoded >= -1e-6).all()
    again = Transform.from_json(transform.to_json())
    assert again.apply_columns({"x": np.array(values)}).tobytes() == encoded.tobytes()


@pytest.mark.parametrize(
    ("moments", "scale"),
    [
        pytest.param(Moments(5, 0, 5, 5), 1.0, id="a constant"),
        pytest.param(Moments(0.1, 1.4e-17, 0.1, 0.1), 1.0, id="a constant with noise of rounding"),
        pytest.param(Moments(1.7e9, 1.0, 1.7e9 - 2, 1.7e9 + 2), 1.0, id="a small spread of large numbers is data"),
        pytest.param(Moments(0, 1e-30, -2e-30, 2e-30), 1e-30, id="a small spread of small numbers is data"),
    ],
)
def test_a_spread_that_is_only_rounding_is_not_made_large(moments: Moments, scale: float) -> None:
    feature = fit([X], {"x": Scaled("standard")}, {"x": moments}, {}, None).features[0]
    assert feature.kind == "numeric"
    assert feature.scale == scale


def test_too_many_features_name_the_column_that_makes_them() -> None:
    columns = [TableColumn(f"c{number}", f"c{number}", "string", nullable=False) for number in range(70)]
    treatments = {column.name: Encoded("oneHot", "error") for column in columns}
    categories = {column.name: tuple(f"v{at:04}" for at in range(1000 if column.name == "c3" else 950)) for column in columns}
    with pytest.raises(BadData, match=r"66,550 features, more than 65,536; the most, 1,000, come of column 'c3'"):
        fit(columns, dict(treatments), {}, categories, None)
