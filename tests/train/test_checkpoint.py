"""A run killed at any moment and resumed ends in the same bits; damaged checkpoints are passed over."""

import multiprocessing
import random
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import cenote as cn
from cenote import layers

PROGRAM = textwrap.dedent(
    """
    import numpy as np
    import cenote as cn
    from cenote import layers

    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 32)).astype("float32")
    y = (x[:, :5].sum(1) > 0).astype("int32")
    # Wide enough for the C++ of training steps (kernels.training.ENOUGH).
    body = [layers.Dense(512, "relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    model = cn.Sequential([*body, layers.Dense(2, "softmax")])
    model.compile(cn.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"], seed=3)
    history = model.fit(x, y, batch_size=7, epochs=6, verbose=0, validation_data=(x[:500], y[:500]),
                        callbacks=[cn.callbacks.ReduceLROnPlateau(patience=1), cn.callbacks.EarlyStopping(patience=50)],
                        checkpoint=cn.train.Checkpoints(folder, every_seconds=every))
    arrays = {**model.arrays()[0], **model.arrays()[1]}
    np.savez(out, loss=history.history["val_loss"], rate=[r["learning_rate"] for r in history.records],
             step=[r["step"] for r in history.records], **arrays)
    """
)


# Each run is a process of its own, from a server that has imported what all of them need.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["numpy", "jax", "cenote", "cenote.layers", "cenote.model", "cenote.train", "cenote.callbacks"]
)


def start(folder: Path, out: Path, every: float) -> multiprocessing.process.BaseProcess:
    process = PROCESSES.Process(target=exec, args=(PROGRAM, {"folder": str(folder), "out": str(out), "every": every}))
    process.start()
    return process


def ended(process: multiprocessing.process.BaseProcess) -> int | None:
    process.join(timeout=120)
    return process.exitcode


def test_killed_at_random_moments_and_resumed_is_the_same_to_the_bit(tmp_path):
    whole = start(tmp_path / "whole", tmp_path / "whole.npz", 1000)
    assert ended(whole) == 0
    draw = random.Random(1)
    folder, kills = tmp_path / "killed", 0
    while True:
        process = start(folder, tmp_path / "killed.npz", 0.0)  # a checkpoint at each chunk, so mid-epoch, too
        first = len(list(folder.glob("step-*"))) if folder.exists() else 0
        deadline = time.time() + 120
        if kills < 4:
            # Wait until it has begun to write, then kill it at a moment that nobody chose.
            before = {p.name for p in folder.glob("step-*")} if first else set()
            while process.is_alive() and time.time() < deadline:
                if {p.name for p in folder.glob("step-*")} - before:
                    break
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.15))
            if process.is_alive():
                process.kill()  # by SIGKILL, which no process hears of
                process.join()
                kills += 1
                continue
        assert ended(process) == 0
        break
    assert kills >= 2, "the run ended before it could be killed twice"
    a, b = np.load(tmp_path / "whole.npz"), np.load(tmp_path / "killed.npz")
    assert set(a.files) == set(b.files)
    for name in a.files:
        assert np.array_equal(a[name], b[name]), name
    assert not list(folder.glob(".*.part"))


def small() -> cn.Sequential:
    model = cn.Sequential([layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile(cn.optimizers.Adam(0.01), "mse")
    return model


X = np.linspace(-1, 1, 60, dtype="float32").reshape(20, 3)
Y = X.sum(1, keepdims=True)


def run(folder, epochs, **options):
    model = small()
    options = {"every_seconds": 0.0} | options
    history = model.fit(X, Y, batch_size=6, epochs=epochs, verbose=0, checkpoint=cn.train.Checkpoints(folder, **options))
    return model, history


def test_a_finished_run_is_not_trained_again_and_more_epochs_go_on(tmp_path):
    first, history = run(tmp_path, 3)
    again, same = run(tmp_path, 3)
    assert same.history == history.history
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)
    longer, history = run(tmp_path, 5)
    straight, _ = run(tmp_path / "other", 5)
    assert len(history.history["loss"]) == 5
    for a, b in zip(longer.get_weights(), straight.get_weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(tmp_path, damage):
    run(tmp_path, 3)
    newest = sorted(tmp_path.glob("step-*"))[-1]
    data = bytearray(newest.read_bytes())
    if damage == "truncate":
        newest.write_bytes(bytes(data[: len(data) // 2]))
    else:
        data[-3] ^= 1
        newest.write_bytes(bytes(data))
    model = small()
    checkpoints = cn.train.Checkpoints(tmp_path, every_seconds=0.0)
    model.fit(X, Y, batch_size=6, epochs=3, verbose=0, checkpoint=checkpoints)
    assert "passed over" in checkpoints.notes[0] and newest.name in checkpoints.notes[0]
    assert "resumed" in checkpoints.notes[1]
    straight, _ = run(tmp_path / "other", 3)
    for a, b in zip(model.get_weights(), straight.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_the_last_few_and_the_best_are_kept(tmp_path):
    model, history = run(tmp_path, 8, keep=2)
    assert len(list(tmp_path.glob("step-*"))) == 2
    best = cn.train.Checkpoints(tmp_path).best_weights()
    assert set(best) == set(model.params)
    model.set_weights(best)
    assert np.isclose(min(history.history["loss"]), history.best("loss")["loss"])


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path, 1)
    model = small()
    with pytest.raises(ValueError, match=r"belongs to another run: its batch_size is 6, this fit's is 5"):
        model.fit(X, Y, batch_size=5, verbose=0, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="its data is"):
        model.fit(X + 1, Y, batch_size=6, verbose=0, checkpoint=tmp_path)
