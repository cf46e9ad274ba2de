"""The record of a run: Keras's lists, complete records, strict JSON, and a picture that can be read."""

from __future__ import annotations

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cenote.train.history import MOST_CHUNKS, History, direction


def fake_run():
    return SimpleNamespace(epoch=0, state=SimpleNamespace(step=0), examples=0, learning_rate=0.1, seconds=0.0)


def recorded(epochs, validation=True, chunks=3, logs=None):
    history, run = History(), fake_run()
    for epoch in range(epochs):
        run.epoch = epoch
        for _ in range(chunks):
            run.state.step += 10
            run.examples += 320
            run.seconds += 0.5
            history.note(run, {"loss": 1 / (epoch + 1), "accuracy": 0.5})
        numbers = {"loss": 1 / (epoch + 1), "accuracy": np.float32(0.5)}
        if validation:
            numbers |= {"val_loss": 1 / (epoch + 1) + 0.05 * max(0, epoch - 3), "val_accuracy": 0.5 + epoch / 1000}
        history.add(run, numbers | (logs(epoch) if logs else {}))
    return history


def test_history_is_keras_history():
    keras = pytest.importorskip("keras")
    theirs, ours, run = keras.callbacks.History(), History(), fake_run()
    theirs.set_model(SimpleNamespace())
    theirs.on_train_begin()
    for epoch, logs in enumerate([{"loss": 0.5}, {"loss": 0.25, "val_loss": 0.5}, {"loss": 0.125, "val_loss": 0.25}]):
        theirs.on_epoch_end(epoch, logs)
        run.epoch = epoch
        ours.add(run, logs)
    assert ours.history == theirs.history and ours.epoch == theirs.epoch
    assert all(isinstance(v, float) for values in ours.history.values() for v in values)


def test_every_record_says_where_it_was_made():
    history = recorded(4)
    assert [r["step"] for r in history.records] == [30, 60, 90, 120]
    for record in (*history.records, *history.chunks):
        assert {"step", "epoch", "examples", "learning_rate", "seconds", "loss", "accuracy"} <= record.keys()
    last = history.records[-1]
    assert (last["epoch"], last["examples"], last["learning_rate"], last["seconds"]) == (3, 3840, 0.1, 6.0)


def test_what_callbacks_add_later_is_taken_in_once():
    history, run = History(), fake_run()
    history.add(run, {"loss": 0.5})
    history.amend({"loss": 0.7, "learning_rate": 0.2})
    assert history.history == {"loss": [0.5], "learning_rate": [0.2]}


def test_finer_records_are_thinned_evenly_and_bounded():
    history = recorded(1, chunks=10 * MOST_CHUNKS + 7)
    assert MOST_CHUNKS / 2 <= len(history.chunks) <= MOST_CHUNKS
    gaps = np.diff([c["step"] for c in history.chunks])
    assert gaps.min() == gaps.max()
    assert history.chunks[-1]["step"] > 0.99 * history.records[-1]["step"]


def test_json_is_strict_and_comes_back_the_same():
    history = recorded(3, logs=lambda e: {"odd": [math.nan, math.inf, -math.inf][e], "matrix": np.ones((2, 2))})
    text = json.dumps(history.to_dict(), allow_nan=False)
    again = History.from_dict(json.loads(text))
    for name in ("records", "chunks", "history", "epoch"):
        assert repr(getattr(again, name)) == repr(getattr(history, name))
    assert again.history["odd"][1] == math.inf and math.isnan(again.history["odd"][0])
    run = fake_run()
    run.epoch = 3
    again.add(run, {"loss": 0.1})
    assert len(again.history["loss"]) == 4


def test_the_best_epoch():
    history = recorded(8)
    assert history.best("val_loss")["epoch"] == int(np.argmin(history.history["val_loss"]))
    assert history.best("val_accuracy")["epoch"] == 7
    with pytest.raises(KeyError, match="there are: loss, accuracy"):
        history.best("val_los")
    history = recorded(2, logs=lambda e: {"temperature": e})
    with pytest.raises(ValueError, match="give mode"):
        history.best("temperature")
    assert history.best("temperature", "max")["epoch"] == 1


def test_the_frame_has_a_row_for_each_epoch(monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = recorded(4).frame()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 4
    assert list(frame.columns[:6]) == ["epoch", "step", "examples", "learning_rate", "seconds", "loss"]
    assert frame["val_loss"].iloc[-1] == recorded(4).history["val_loss"][-1]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "cenote\[tabular\]"'):
        recorded(1).frame()


@pytest.mark.parametrize("epochs", [1, 12, 1000])
def test_the_picture_has_a_panel_for_each_quantity_and_marks_the_best(epochs, tmp_path):
    history = recorded(epochs, chunks=1 if epochs > 100 else 3)
    figure = history.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "accuracy"]
    loss = figure.axes[0]
    drawn = {line.get_label(): line for line in loss.lines}
    np.testing.assert_array_equal(drawn["training"].get_ydata(), history.history["loss"])
    np.testing.assert_array_equal(drawn["validation"].get_ydata(), history.history["val_loss"])
    np.testing.assert_array_equal(drawn["training"].get_xdata(), np.arange(1, epochs + 1))
    if epochs > 1:
        told = [text.get_text() for text in loss.texts]
        assert any(f"in epoch {history.best('val_loss')['epoch'] + 1}" in text for text in told)
    left, right = loss.get_xlim()
    assert left < 1 and right > epochs
    assert all(float(tick).is_integer() for tick in loss.get_xticks())
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_picture_of_a_run_that_broke_and_of_one_whose_rate_changed():
    history = recorded(6, logs=lambda e: {"loss": math.nan if e > 3 else 1.0 / (e + 1)})
    for record in history.records[3:]:
        record["learning_rate"] = 0.01
    figure = history.plot()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert "not a number from epoch 5" in figure.axes[0].texts[0].get_text()
    with pytest.raises(ValueError, match="nothing to show yet"):
        History().plot()


def test_notebooks_show_a_table_and_the_curves():
    text = recorded(3, logs=lambda e: {"<b>": 1.0})._repr_html_()
    assert "<svg" in text and "&lt;b&gt;" in text and "<b>" not in text
    assert "3 epochs, 90 steps, 2,880 examples in 4.5 s" in text
    assert History()._repr_html_() == "<p>History: nothing yet</p>"
    assert repr(recorded(2)).startswith("History(2 epochs: loss 0.5000, accuracy 0.5000")


def test_directions():
    for name in (
        "loss",
        "val_loss",
        "digit_loss",
        "mse",
        "root_mean_squared_error",
        "kl_divergence",
        "categorical_crossentropy",
    ):
        assert direction(name) == "min"
    for name in (
        "accuracy",
        "acc",
        "val_acc",
        "auc_2",
        "sparse_top_k_categorical_accuracy",
        "r2_score",
        "mean_io_u",
        "recall",
    ):
        assert direction(name) == "max"
    assert direction("learning_rate") is None


def test_every_metric_of_ours_has_the_direction_that_its_name_tells():
    from cenote import metrics

    for kind in vars(metrics).values():
        told = getattr(kind, "direction", None)
        if isinstance(kind, type) and told and kind.__name__ != "Metric":
            name = (
                getattr(kind, "default_name", None) or "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)[1:]
            )
            found = direction(name)
            assert found in (None, {"up": "max", "down": "min"}[told]), name
