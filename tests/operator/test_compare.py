"""Whether a child already is what its manifest asks for, as the API server writes things."""

from typing import Any

import builders as b
import pytest

from windlass_operator.api import DATASET
from windlass_operator.compare import DIGEST_ANNOTATION, Ownership, covers, digest, ownership, quantity, stamped


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        pytest.param({"a": 1, "b": 2}, {"a": 1}, True, id="the server filled a default in"),
        pytest.param({"a": 1}, {"a": 2}, False, id="a value differs"),
        pytest.param({}, {"a": 1}, False, id="a field is missing"),
        pytest.param({"cpu": "500m"}, {"cpu": "0.5"}, True, id="a quantity is written another way"),
        pytest.param({"memory": "1Gi"}, {"memory": "1024Mi"}, True, id="a quantity has another unit"),
        pytest.param({"memory": "1G"}, {"memory": "1Gi"}, False, id="a quantity differs"),
        pytest.param({"port": 80}, {"port": "80"}, False, id="a number and a text differ"),
        pytest.param({"items": [{"x": 1, "y": 2}]}, {"items": [{"x": 1}]}, True, id="defaults inside a list"),
        pytest.param({"items": [1, 2]}, {"items": [1]}, False, id="a list is longer"),
        pytest.param({}, {"items": []}, True, id="an empty list is not kept by the server"),
        pytest.param({}, {"value": ""}, True, id="an empty text is not kept by the server"),
        pytest.param({}, {"flag": False}, True, id="a false flag is not kept by the server"),
        pytest.param({"flag": True}, {"flag": False}, False, id="a flag differs"),
        pytest.param({"x": None}, {"x": {"y": 1}}, False, id="nothing is no object"),
    ],
)
def test_covers(live: Any, wanted: Any, same: bool) -> None:
    assert covers(live, wanted) is same


def test_a_field_that_is_left_out_from_now_on_is_found_by_the_digest() -> None:
    before = stamped({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    after = stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert not covers(before, after)
    assert DIGEST_ANNOTATION in after["metadata"]["annotations"]


def test_a_digest_depends_on_content_and_not_on_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("500m", 0.5),
        ("1.5", 1.5),
        ("1k", 1000),
        ("1Ki", 1024),
        ("2Gi", 2 * 1024**3),
        ("", None),
        ("x", None),
        ("m", None),
    ],
)
def test_quantity(text: str, number: float | None) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(
    ("owner", "whose"),
    [
        pytest.param(b.dataset(), Ownership.OURS, id="we control it"),
        pytest.param(b.dataset(metadata={"uid": "earlier"}), Ownership.LEFTOVER, id="an earlier object of our name did"),
        pytest.param(b.dataset("other", metadata={"uid": "x"}), Ownership.FOREIGN, id="another object does"),
        pytest.param(b.model(metadata={"uid": "x"}), Ownership.FOREIGN, id="an object of another kind does"),
        pytest.param(None, Ownership.FOREIGN, id="nobody does"),
    ],
)
def test_a_child_belongs_to(owner: Any, whose: Ownership) -> None:
    child = {"metadata": {"name": "x"}}
    assert ownership(b.parent(DATASET, b.dataset()), b.owned(child, owner) if owner else child) is whose


def test_what_does_not_exist_is_absent() -> None:
    assert ownership(b.parent(DATASET, b.dataset()), None) is Ownership.ABSENT
