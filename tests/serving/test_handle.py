"""The serving handle: what predict answers, for one shape, from numpy to numpy; clear words for all else."""

import threading

import jax
import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.serving import handle as serving

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


@pytest.fixture(scope="module")
def model():
    net = cn.Sequential([layers.Dense(4, "tanh"), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2, "softmax")])
    net.build(X)
    return net


def test_it_answers_as_predict_does_in_arrays_of_its_own(model):
    serve = model.compiled((1, 5))
    y = serve(X[:1])
    assert isinstance(y, np.ndarray) and y.dtype == np.float32
    np.testing.assert_allclose(y, model.predict(X[:1]), rtol=1e-6)
    y[:] = 0  # writable, and nobody else's
    assert serve(X[:1]).sum() == pytest.approx(1)
    assert repr(serve) == "Compiled(float32[1, 5] -> float32[1, 2])"


@pytest.mark.parametrize("bytes", [0, serving.MOST_CONSTANT_BYTES], ids=["shared", "constants"])
def test_later_changes_of_the_model_do_not_reach_it(model, monkeypatch, bytes):
    monkeypatch.setattr(serving, "MOST_CONSTANT_BYTES", bytes)
    serve, weights = model.compiled(X[:1]), model.get_weights()
    before = serve(X[:1])
    model.set_weights([w + 1 for w in weights])
    try:
        assert np.array_equal(serve(X[:1]), before)
        assert not np.allclose(model.compiled(X[:1])(X[:1]), before)
    finally:
        model.set_weights(weights)


def test_specs_may_be_said_in_several_ways(model):
    for spec, shape in (
        (None, (1, 5)),
        ((3, 5), (3, 5)),
        ([3, 5], (3, 5)),
        (X.astype("float64")[:2], (2, 5)),
        (X[:2].tolist(), (2, 5)),
        (jax.ShapeDtypeStruct((2, 5), "float32"), (2, 5)),
    ):
        assert serving._inputs(model, spec) == jax.ShapeDtypeStruct(shape, "float32")
    words = cn.Sequential([layers.Embedding(9, 2), layers.Flatten(), layers.Dense(1)])
    words.build(np.zeros((4, 3), "int32"))
    serve = words.compiled((2, 3))  # of the dtype that the model was built for
    assert serve.inputs.dtype == np.int32 and serve(np.ones((2, 3), "int64")).shape == (2, 1)


def test_what_is_not_as_compiled_is_refused_or_narrowed(model):
    serve = model.compiled((2, 5))
    exact = serve(X[:2])
    for same in (X[:2].astype("float64"), X[:2].tolist(), jax.numpy.asarray(X[:2])):
        assert np.array_equal(serve(same), exact)
    for wrong, kind, text in (
        (X[:3], ValueError, r"compiled for x of shape \(2, 5\), but got float32\[3, 5\]: .*model.compiled\(\(3, 5\)\)"),
        (X[0], ValueError, r"of shape \(2, 5\), but got float32\[5\]"),
        (np.ones((2, 5), "int32"), TypeError, r"of dtype float32, but got int32\[2, 5\]: convert it \(x.astype\('float32'\)\)"),
        ((X[:2], X[:2]), ValueError, r"compiled for x = float32\[2, 5\], but got \(float32\[2, 5\], float32\[2, 5\]\)"),
        ([["a"] * 5] * 2, TypeError, "text"),
    ):
        with pytest.raises(kind, match=text):
            serve(wrong)
    for spec, text in (
        ((None, 5), r"known sizes, got the shape \(None, 5\): .*compiled\(\(1, 5\)\)"),
        ((1, 4), "another width"),
    ):
        with pytest.raises(ValueError, match=text):
            model.compiled(spec)
    with pytest.raises(ValueError, match="no weights yet, so it cannot be compiled"):
        cn.Sequential([layers.Dense(1)]).compiled((1, 5))


class Two(cn.Model):
    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(2), layers.Dense(3)

    def forward(self, left, right):
        return {"a": self.a(left), "both": (self.b(right), left)}


def test_several_inputs_and_outputs():
    net = Two()
    net.build(X, X[:, :2])
    found = net.compiled()((X[:1], X[:1, :2]))
    wanted = net.predict((X[:1], X[:1, :2]))
    assert jax.tree.map(np.shape, found) == {"a": (1, 2), "both": ((1, 3), (1, 5))}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, wanted)
    with pytest.raises(ValueError, match=r"for x\[1\] of shape \(1, 2\), but got float32\[1, 5\]"):
        net.compiled(((1, 5), (1, 2)))((X[:1], X[:1]))


def test_inputs_are_prepared():
    class Length(layers.HostLayer):
        def prepare(self, x):
            return np.array([[len(text)] for text in x], "float32")

    net = cn.Sequential([Length(), layers.Rescaling(0.5)]).build(["a"])
    assert net.compiled(["word"])(["abc"]).tolist() == [[1.5]]


def test_layers_that_remember_are_refused():
    net = cn.Sequential([layers.SimpleRNN(2, stateful=True)])
    net.build(np.zeros((1, 3, 2), "float32"))
    with pytest.raises(ValueError, match=r"carries state from one call to the next \(SimpleRNN.*use predict"):
        net.compiled((1, 3, 2))


def test_threads_may_share_it(model):
    serve, wrong = model.compiled((1, 5)), []
    wanted = [serve(x[None]) for x in X]

    def work():
        for _ in range(50):
            wrong.extend(i for i, x in enumerate(X) if not np.array_equal(serve(x[None]), wanted[i]))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_predict_gives_arrays_that_may_be_written_to(model):
    for count in (1, 3, 6):
        model.predict(X[:count])[:] = 0
