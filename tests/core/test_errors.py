"""What Cenote says when something is wrong."""

import jax
import numpy as np
import pytest

from cenote.core import describe, unknown


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("adm", "'adam'"), ("ADAM", "'adam'"), ("rms_prop", "'rmsprop'"), ("Momentun", "'Momentum'"), (7, None), ("", None)],
)
def test_an_unknown_name_lists_the_near_ones_and_all(slip, meant):
    error = unknown("optimizer", slip, ["sgd", "adam", "rmsprop", "Momentum"])
    assert isinstance(error, ValueError)
    text = str(error)
    assert text.startswith(f"unknown optimizer {slip!r}") and text.endswith("Known: Momentum, adam, rmsprop, sgd")
    assert (f"did you mean {meant}" in text) if meant else "did you mean" not in text


def test_a_long_list_is_cut():
    assert str(unknown("name", "x", [f"n{i:03}" for i in range(100)])).endswith("n059, ...")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((2, 5), "int32"), "int32[2, 5]"),
        (jax.ShapeDtypeStruct((3,), "float32"), "float32[3]"),
        (np.float64(2), "float64[]"),
        ([np.zeros(1), 2, "a"], "[float64[1], 2, 'a']"),
        ((np.zeros(1, bool), None), "(bool[1], None)"),
        (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ({"a": [1]}, "{a: [1]}"),
    ],
    ids=str,
)
def test_arguments_in_few_words(value, text):
    assert describe(value) == text


def test_a_long_text_is_cut():
    assert len(describe("x" * 500)) == 80 and describe("x" * 500).endswith("...")
