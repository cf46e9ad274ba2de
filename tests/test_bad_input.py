"""What Cenote says when something is wrong: what came in, where, what was expected, what to do."""

import errno
import os
import signal
import threading
import time

import numpy as np
import pytest

import cenote as cn
from cenote import layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
LABELS = (np.arange(40) % 3).astype("int32")


def classifier(units=3):
    model = cn.Sequential([layers.Dense(8, "relu"), layers.Dense(units, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def said(error) -> str:
    return "\n".join([str(error.value), *getattr(error.value, "__notes__", [])])


@pytest.fixture(scope="module")
def trained():
    model = classifier()
    model.fit(X, LABELS, verbose=0)
    return model


def test_wrong_width_into_a_built_layer(trained):
    with pytest.raises(ValueError) as error:
        trained.predict(X[:, :4])
    text = said(error)
    assert "built with shape (6, 8), but this input needs (4, 8)" in text
    assert "in layer 'layers.0': Dense(8, 'relu') called with float32[40, 4]" in text


def test_label_outside_the_classes(trained):
    labels = LABELS.copy()
    labels[7] = 5
    with pytest.raises(
        ValueError, match=r"y\[7\] is the label 5, but the output has 3 classes, 0 to 2 \(1 such labels\).*6 units"
    ):
        trained.fit(X, labels, verbose=0)
    with pytest.raises(ValueError, match=r"y\[7\] is the label 5"):
        trained.evaluate(X, labels, verbose=0)


def test_labels_and_inputs_of_different_lengths(trained):
    with pytest.raises(ValueError, match="x has 40 examples, but y has 39"):
        trained.fit(X, LABELS[:-1], verbose=0)
    with pytest.raises(ValueError, match="x has 40 examples, but sample_weight has 3"):
        trained.fit(X, LABELS, sample_weight=np.ones(3), verbose=0)


def test_nan_in_the_input(trained):
    x = X.copy()
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"x holds NaN .* at \[3, 2\]; 1 of 40 examples.*fill them"):
        trained.fit(x, LABELS, verbose=0)
    x[3, 2] = np.inf
    with pytest.raises(ValueError, match="an infinite value"):
        trained.predict(x)


def test_nan_in_the_loss_keeps_the_weights_of_the_epoch_before():
    model = cn.Sequential([layers.Dense(1)])
    model.compile(cn.optimizers.SGD(1e18), "mse")
    model.build(X)
    with pytest.raises(
        FloatingPointError, match=r"the loss became (nan|inf) in epoch 1.*learning rate 1e\+18.*lower the learning"
    ):
        model.fit(X, X.sum(1, keepdims=True), epochs=20, batch_size=4, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_an_empty_data_set(trained):
    with pytest.raises(ValueError, match="the data set is empty"):
        trained.fit(X[:0], LABELS[:0], verbose=0)
    with pytest.raises(ValueError, match="the data set is empty"):
        trained.fit(iter([]), verbose=0)


def test_a_string_array(trained):
    with pytest.raises(TypeError, match=r"x is an array of text \(the first value is .*'a'\).*numpy.unique"):
        trained.fit(np.array([["a", "b"]] * 40), LABELS, verbose=0)
    with pytest.raises(TypeError, match="y is an array of text"):
        trained.fit(X, np.array(["cat"] * 40), verbose=0)


@pytest.mark.parametrize(
    ("what", "slip", "meant", "go"),
    [
        (
            "loss",
            "sparse_categorical_crosentropy",
            "sparse_categorical_crossentropy",
            lambda n: classifier().compile("adam", n),
        ),
        ("optimizer", "adm", "adam", lambda n: classifier().compile(n, "mse")),
        ("activation", "rleu", "relu", lambda n: layers.Dense(3, activation=n)),
        ("metric", "acuracy", "accuracy", lambda n: classifier().compile("adam", "mse", metrics=[n])),
        ("initializer", "glorot_unifrom", "glorot_uniform", lambda n: layers.Dense(3, kernel_initializer=n)),
    ],
)
def test_an_unknown_name_lists_the_near_ones(what, slip, meant, go):
    with pytest.raises(ValueError) as error:
        go(slip)
    assert what in str(error.value) and repr(slip) in str(error.value) and repr(meant) in str(error.value)


def test_a_model_called_before_it_is_built():
    with pytest.raises(ValueError, match=r"has no weights yet, so it cannot be called: call build\(x\)") as error:
        classifier()(X)
    assert "layers.0" in said(error)
    for verb in ("predict", "evaluate"):
        with pytest.raises(ValueError, match="has no weights yet"):
            getattr(classifier(), verb)(X, *([LABELS] if verb == "evaluate" else []))


def test_float_labels_into_sparse_crossentropy(trained):
    with pytest.raises(
        ValueError, match=r"y holds the float 0\.5, but sparse_categorical_crossentropy wants whole class numbers"
    ):
        trained.fit(X, LABELS + 0.5, verbose=0)
    trained.fit(X, LABELS.astype("float32"), verbose=0)  # whole numbers in floats are what many files give


def test_one_hot_and_class_numbers_mixed_up(trained):
    with pytest.raises(ValueError, match="use loss='categorical_crossentropy'"):
        classifier().fit(X, np.eye(3)[LABELS], verbose=0)
    other = cn.Sequential([layers.Dense(3, "softmax")])
    other.compile("adam", "categorical_crossentropy")
    with pytest.raises(ValueError, match="use loss='sparse_categorical_crossentropy'"):
        other.fit(X, LABELS, verbose=0)


def test_a_batch_larger_than_the_data(trained, capsys):
    trained.fit(X, LABELS, batch_size=64, verbose=0)
    assert "batch_size=64 is larger than the data: each step takes all 40 examples" in capsys.readouterr().out
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        trained.fit(X, LABELS, batch_size=0, verbose=0)


def test_a_full_disk_leaves_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "model.cenote"
    trained.save(path)
    before = path.read_bytes()

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write .*model.cenote .*No space left on device; the old file is untouched"):
        trained.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.cenote"]


def test_a_read_only_folder(trained, tmp_path, monkeypatch):
    def refused(*_, **__):  # the tests may run as root, who may write anywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match=r"could not write .*: Permission denied; no file was left; .*choose a folder"):
        trained.save(tmp_path / "model.cenote")


def test_ctrl_c_in_mid_epoch_keeps_what_was_learned():
    model = cn.Sequential([layers.Dense(1)])
    model.compile(cn.optimizers.SGD(0.01), "mse")
    model.build(X)
    before = model.get_weights()[0]
    threading.Thread(target=lambda: (time.sleep(1.0), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
    with pytest.raises(KeyboardInterrupt, match=r"stopped by Ctrl-C in epoch \d+ after \d+ steps; the model keeps"):
        model.fit(X, X @ np.ones((6, 1), "float32"), epochs=10_000_000, verbose=0)
    after = model.get_weights()[0]
    assert np.isfinite(after).all() and np.abs(after - 1).max() < np.abs(before - 1).max()
    model.fit(X, X @ np.ones((6, 1), "float32"), verbose=0)  # and can go on


def test_data_that_cannot_be_what_was_meant(trained):
    with pytest.raises(ValueError, match="rows of different lengths"):
        trained.fit([[1, 2], [3]], [0, 1], verbose=0)
    with pytest.raises(ValueError, match="leave y out"):
        trained.fit(iter([(X, LABELS)]), LABELS, verbose=0)
    with pytest.raises(ValueError, match="a generator runs dry after one pass"):
        trained.fit(iter([(X, LABELS)]), epochs=2, verbose=0)
    with pytest.raises(ValueError, match=r"steps_per_epoch=9, but the data gives 2 batches of 32"):
        trained.fit(X, LABELS, steps_per_epoch=9, verbose=0)
    with pytest.raises(ValueError, match="fit needs data"):
        trained.fit()
