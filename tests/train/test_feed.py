"""Inputs of every kind give the same training: arrays, lists, frames, loaders, generators, data larger than memory."""

import numpy as np
import pytest

import cenote as cn
from cenote import layers
from cenote.data.feed import Resident, Stream, as_feed, prefetch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = (np.arange(48) % 3).astype("int32")


def model():
    net = cn.Sequential([layers.Dense(3, "softmax")])
    net.compile(cn.optimizers.SGD(0.1), "sparse_categorical_crossentropy", seed=1)
    return net


def trained(*data, **options):
    net = model()
    net.fit(*data, batch_size=options.pop("batch_size", 16), epochs=2, shuffle=False, verbose=0, **options)
    return net.get_weights()


@pytest.fixture(scope="module")
def expected():
    return trained(X, Y)


def same(a, b, exact=True):
    for left, right in zip(a, b, strict=True):
        assert np.array_equal(left, right) if exact else np.allclose(left, right, atol=1e-6)


class WithArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array.astype(dtype) if dtype else self.array


class WithDLPack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_arrays_of_many_kinds(expected):
    import jax.numpy as jnp

    same(trained(jnp.asarray(X), jnp.asarray(Y)), expected)
    same(trained(X.tolist(), Y.tolist()), expected)
    same(trained(X.astype("float64"), Y.astype("int64")), expected)
    same(trained(WithArray(X), WithArray(Y)), expected)
    same(trained(WithDLPack(X), WithDLPack(Y)), expected)


def test_frames(expected):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    same(trained(frame, pandas.Series(Y)), expected)
    frame["label"] = Y
    same(trained(frame, "label"), expected)
    with pytest.raises(ValueError, match="no column 'lable'"):
        trained(frame, "lable")
    frame["name"] = "x"
    with pytest.raises(TypeError, match="columns that are not numbers: name"):
        trained(frame, "label")


def batches():
    return [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 48, 16)]


class Loader:
    """What a PyTorch DataLoader looks like: iterable again and again, batches as lists."""

    def __iter__(self):
        return (list(batch) for batch in batches())

    def __len__(self):
        return 3


def test_streams_train_like_arrays(expected):
    same(trained(Loader()), expected, exact=False)
    same(trained(iter(batches() * 2), steps_per_epoch=3), expected, exact=False)

    def endless():
        while True:
            yield from batches()

    same(trained(endless(), steps_per_epoch=3), expected, exact=False)


def test_a_torch_data_loader(expected):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    same(trained(torch.utils.data.DataLoader(data, batch_size=16)), expected, exact=False)
    same(trained(torch.tensor(X, requires_grad=True), torch.tensor(Y)), expected)


def test_a_hugging_face_data_set(expected):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()})
    same(trained(table, "label"), expected)


def test_memory_mapped_arrays_stream_in_the_same_order(tmp_path, expected):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(as_feed(mapped, Y), Stream)
    same(trained(mapped, Y), expected, exact=False)
    a, b = model(), model()
    a.fit(X, Y, batch_size=10, epochs=3, verbose=0)
    b.fit(mapped, Y, batch_size=10, epochs=3, verbose=0)
    same(a.get_weights(), b.get_weights(), exact=False)


def test_what_exceeds_the_budget_streams():
    assert isinstance(as_feed(X, Y, budget=X.nbytes), Stream)
    assert isinstance(as_feed(X, Y, budget=10 * X.nbytes), Resident)


def test_every_example_once_an_epoch_and_another_order_each_time():
    from cenote.train.epoch import epoch_order

    orders = []
    for epoch in range(3):
        full, tail = epoch_order(47, 10, seed=5, epoch=epoch, shuffle=True)
        assert full.shape == (4, 10) and tail.shape == (7,)
        order = np.concatenate([full.ravel(), tail])
        assert sorted(order) == list(range(47))
        orders.append(order)
    assert not np.array_equal(orders[0], orders[1])
    again = epoch_order(47, 10, seed=5, epoch=2, shuffle=True)
    assert np.array_equal(np.concatenate([again[0].ravel(), again[1]]), orders[2])


def test_prefetch_hands_errors_on_and_stops_when_it_is_left():
    def failing():
        yield 1
        raise RuntimeError("the disk is gone")

    read = prefetch(failing())
    assert next(read) == 1
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(read)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield len(taken)

    read = prefetch(endless(), depth=2)
    next(read)
    read.close()
    seen = len(taken)
    assert seen < 10


def test_class_weights_count_like_sample_weights():
    weights = {0: 1.0, 1: 3.0, 2: 0.5}
    same(trained(X, Y, class_weight=weights), trained(X, Y, sample_weight=np.vectorize(weights.get)(Y)))
