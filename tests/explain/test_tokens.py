"""Words have no slope, but the vectors that are looked up for them have: methods by gradients go through those."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from captum_nets import answers, network

from cenote import Sequential, explain, layers
from cenote.explain.lookups import Parts, over_vectors
from cenote.explain.question import ask
from cenote.explain.tokens import Lookups, looked_up

TABLE = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)).astype("float32"))
WORDS = np.random.default_rng(1).integers(1, 20, (3, 4)).astype("int32")
SHARE = TABLE.sum(1)  # the value of each word where a function adds up all its vectors


def test_values_of_words_are_captums_at_the_embedding():
    stored, model = answers("words"), network("words")
    x = np.array(stored["x"], "int32")
    found = explain.integrated_gradients(model, x, target=stored["target"], baseline=0, nodes=50)
    assert found.values.shape == x.shape and found.x.dtype.kind == "i"
    np.testing.assert_allclose(found.values, stored["integrated"].sum(-1), atol=2e-6)
    assert found.gap.max() < 1e-5
    inner = explain.layer_attribution(model, x, "layers.0", target=stored["target"], baseline=0, nodes=50)
    np.testing.assert_allclose(inner.values, stored["integrated"], atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: TABLE[x].sum((1, 2)),
        lambda x: TABLE[x.T].sum((0, 2)),  # time first
        lambda x: TABLE[x.reshape(-1)].reshape(x.shape[0], -1).sum(1),
        lambda x: TABLE[x[:, ::-1]].sum((1, 2)),
        lambda x: TABLE[jnp.concatenate([jnp.zeros((x.shape[0], 1), "int32"), x], 1)].sum((1, 2)),  # a word in front of all
        lambda x: TABLE[jnp.pad(x, ((0, 0), (0, 2)))].sum((1, 2)),
        lambda x: jax.vmap(lambda row: jax.vmap(lambda t: TABLE[t])(row).sum())(x),
        lambda x: jax.checkpoint(lambda x: jnp.take(TABLE, x, axis=0).sum((1, 2)))(x),
        lambda x: jax.lax.scan(lambda c, t: (c + TABLE[t].sum(-1), None), jnp.zeros(x.shape[0]), x.T)[0],
        lambda x: TABLE[jnp.stack([x, (x * 3) % 20], -1)][:, :, 0].sum((1, 2)),  # two entries for each word
        lambda x: TABLE[jnp.where(x < 0, x + 20, jnp.clip(x, 0, 19))].sum((1, 2)),
        lambda x: sum(TABLE[x, i].sum(1) for i in range(3)),  # single numbers of the table
    ],
)
def test_each_word_gets_its_own_share_however_it_is_looked_up(function):
    found = explain.input_x_gradient(function, WORDS)
    np.testing.assert_allclose(found.values, SHARE[WORDS], rtol=1e-4, atol=1e-5)


def test_masks_stay_those_of_the_words_that_are_there():
    x = np.array([[3, 5, 0, 0], [4, 1, 2, 7]], "int32")
    model = Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(5), layers.Dense(2)]).build(x)
    found = explain.integrated_gradients(model, x, target=1)
    assert (found.values[0, 2:] == 0).all() and (found.values[0, :2] != 0).all()
    assert found.gap.max() < 1e-4 and "row 0 of the table" in found.reason
    rows = np.random.default_rng(0).integers(0, 9, (6, 4)).astype("int32")
    mean = explain.integrated_gradients(model, x, target=1, background=rows)
    assert mean.gap.max() < 1e-3 and "mean of the vectors that the training rows look up" in mean.reason
    drawn = explain.expected_gradients(model, x, target=1, background=rows)
    assert drawn.error.shape == x.shape and drawn.gap.max() < 0.02
    assert (drawn.values[0, 2:] == 0).all()


def test_any_number_of_rows_with_any_targets_can_be_asked_about_at_once():
    """What methods do that repeat rows for each row of the background."""
    x = WORDS
    question = over_vectors(ask(lambda x: TABLE[x].sum(1), x, target=[0, 1, 2]))
    pick = np.array([2, 0, 0, 1, 2])
    parts = jax.tree.map(lambda a: a[pick], question.x)
    found = question.score(question.weights, parts, question.targets[pick])
    np.testing.assert_allclose(found, np.asarray(TABLE)[x].sum(1)[pick, pick], rtol=1e-5)


def test_programs_are_compiled_once_for_a_model():
    x = np.random.default_rng(0).integers(0, 9, (5, 4)).astype("int32")
    model = Sequential([layers.Embedding(9, 4), layers.GlobalAveragePooling1D(), layers.Dense(2)]).build(x)
    first, second = over_vectors(ask(model, x)), over_vectors(ask(model, x[::-1]))
    assert isinstance(first.x, Parts) and first.subject.programs is second.subject.programs
    assert (explain.saliency(model, x, batch_size=2).values == explain.saliency(model, x).values).all()


def test_categories_in_a_table_of_floats():
    x = np.array([[0.5, 3.0], [1.5, 7.0]], "float32")
    f = lambda x: 2 * x[:, 0] + TABLE[x[:, 1].astype("int32")].sum(1)  # noqa: E731
    found = explain.integrated_gradients(f, x, baseline=np.zeros(2))
    np.testing.assert_allclose(found.values[:, 0], [1, 3], atol=1e-5)
    np.testing.assert_allclose(found.values[:, 1], SHARE[np.array([3, 7])] - SHARE[0], atol=1e-5)
    assert found.gap.max() < 1e-5


def test_words_beside_quantities():
    x = (WORDS, np.ones((3, 2), "float32"), np.full((3,), 2, "int32"))
    f = lambda x: (TABLE[x[0]].sum(2) * (x[2] > 1)[:, None]).sum(1) * x[1][:, 0]  # noqa: E731
    assert looked_up(f, x) == [True, False, True]
    found = explain.saliency(f, x, absolute=False)
    np.testing.assert_allclose(found.values[1][:, 0], SHARE[WORDS].sum(1), rtol=1e-4, atol=1e-5)
    assert (found.values[0] == 3).all() and (found.values[2] == 0).all()


def test_other_words_put_in_their_place():
    run = Lookups(lambda table, x: jnp.where(x != 0, table[x].sum(-1), 0).sum(1))
    x = jnp.array([[1, 0]])
    assert run(TABLE, x, [jnp.ones((1, 2, 3))]).tolist() == [3.0]  # the second is still hidden
    assert [s.places.tolist() for s in run.sites(TABLE, x)] == [[[0, 1]]]


@pytest.mark.parametrize(
    "problem, function",
    [
        ("compares or counts, but does not look up", lambda x: jax.nn.one_hot(x, 20).sum((1, 2))),
        ("of several words at once", lambda x: TABLE[x[:, 1:] + x[:, :-1]].sum((1, 2))),
        ("behind the operation sort", lambda x: TABLE[jnp.sort(x)].sum((1, 2))),
        ("looked up inside a cond", lambda x: jax.lax.cond(x[0, 0] > 0, lambda: TABLE[x].sum((1, 2)), lambda: x[:, 0] * 0.0)),
    ],
)
def test_what_cannot_be_told_is_said(problem, function):
    with pytest.raises(ValueError, match=problem) as said:
        explain.saliency(function, WORDS)
    assert "permutation_shapley" in str(said.value)
