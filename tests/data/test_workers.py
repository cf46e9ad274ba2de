"""Batches that processes read ahead: their order, their errors, their end."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from PIL import Image

from cenote.data.images import ImagePreparation
from cenote.data.workers import Batches
from cenote.files import BadFile


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(11):
        Image.fromarray(np.full((6, 6), 20 * i, np.uint8)).save(folder / f"{i}.png")
    return [[str(folder / f"{i}.png"), ""] for i in range(11)]


def test_workers_give_what_one_process_gives(files):
    prepare, y = ImagePreparation(4, 4, "L"), np.arange(11)
    options = {"batch_size": 3, "shuffle": True, "seed": 5}
    one, two = (Batches(prepare, files, y, workers=n, **options) for n in (0, 2))
    for _ in range(2):
        here, there = list(one), list(two)
        assert len(here) == len(there) == len(two) == 4
        for (x, t), (x2, t2) in zip(here, there, strict=True):
            assert (x == x2).all() and (t == t2).all() and (x[:, 0, 0, 0] == 20 * t).all()


def test_long_lists_of_items_do_not_make_both_sides_wait():
    items = [[i + 1 / 3] * 40 for i in range(3000)]  # more than a pipe holds, asked and answered
    batches = Batches(np.asarray, items, batch_size=1000, workers=1)
    done = []
    thread = threading.Thread(target=lambda: done.extend(batches), daemon=True)
    thread.start()
    thread.join(60)
    assert len(done) == 3 and (np.concatenate(done) == np.array(items)).all()


def test_the_order_is_a_function_of_seed_and_pass():
    items = [[float(i)] for i in range(20)]

    def order(**options):
        return np.concatenate(list(Batches(np.asarray, items, batch_size=6, workers=0, shuffle=True, **options)))[:, 0].tolist()

    assert order(seed=1) == order(seed=1) != order(seed=2)
    batches = Batches(np.asarray, items, batch_size=6, workers=0, shuffle=True, seed=1)
    first, second = (np.concatenate(list(batches))[:, 0].tolist() for _ in range(2))
    assert first == order(seed=1) and second == order(seed=1, passes=1) != first and sorted(first) == list(range(20))
    assert [b.tolist() for b in batches.open_epoch(1, skip=2)] == [b.tolist() for b in batches.open_epoch(1)][2:]
    from cenote.data.feed import as_feed

    resident = as_feed(np.arange(20.0)[:, None], batch_size=6, shuffle=True, seed=1, budget=0)
    assert (
        np.concatenate([np.sort(b["x"], 0) for b in resident.open(1, 0)])[:, 0].tolist()
        == np.concatenate([np.sort(b, 0) for b in batches.open_epoch(1)])[:, 0].tolist()
    )


def test_a_broken_file_is_named_where_its_batch_would_come(files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nonsense")
    batches = iter(Batches(ImagePreparation(4, 4), [*files, [str(bad), ""]], batch_size=4, workers=2))
    assert next(batches).shape == (4, 4, 4, 3)
    assert next(batches).shape == (4, 4, 4, 3)
    with pytest.raises(BadFile, match=r"bad\.png is no picture"):
        next(batches)


def test_workers_end_when_the_loop_is_left(files):
    before = set(_children())
    made = Batches(ImagePreparation(4, 4), files, batch_size=2, workers=2)
    batches = iter(made)
    next(batches)
    assert len(set(_children()) - before) == 2
    batches.close()
    assert not set(_children()) - before
    list(made)
    waiting = set(_children()) - before
    list(made)
    assert len(waiting) == 2 and set(_children()) - before == waiting  # the same serve every pass
    del made, batches
    assert not set(_children()) - before


def _children():
    import pathlib

    me, found = os.getpid(), []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == me and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_ctrl_c_in_a_plain_script_leaves_nothing_behind(files, tmp_path):
    if os.name != "posix":
        pytest.skip("signals to groups of processes are POSIX's")
    script = tmp_path / "script.py"  # with no guard for its main part
    script.write_text(
        textwrap.dedent(f"""
        import time
        from cenote.data.images import ImagePreparation
        from cenote.data.workers import Batches
        for batch in Batches(ImagePreparation(4, 4), {files!r}, batch_size=2, workers=2):
            print("batch", flush=True)
            time.sleep(30)
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "batch\n"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors and "cenote.data.workers" not in errors.split("KeyboardInterrupt")[1]
    for _ in range(50):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a worker is still there")


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="no items"):
        Batches(np.asarray, [])
    with pytest.raises(ValueError, match="3 items, but 2 targets"):
        Batches(np.asarray, [1, 2, 3], np.arange(2))
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        Batches(np.asarray, [1], batch_size=0)
    with pytest.raises(ValueError, match=r"cannot be found by worker processes.*workers=0"):
        list(Batches(lambda items: np.asarray(items), [1, 2], workers=1))


def test_a_model_is_fitted_on_them():
    import cenote as cn
    from cenote import layers

    x = np.random.RandomState(0).randn(64, 3).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)
    batches = Batches(np.asarray, x.tolist(), y, batch_size=16, shuffle=True, workers=0)
    model = cn.Sequential([layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.1
    history = model.fit(batches, epochs=30, verbose=0)
    assert history.history["loss"][-1] < 0.05


def test_a_run_over_batches_takes_each_pass_in_its_own_order_and_can_go_on_in_the_middle():
    from cenote.data import as_feed

    def load(items):
        return np.array(items, np.float32)[:, None]

    batches = Batches(load, list(range(10)), np.arange(10), batch_size=4, shuffle=True, seed=3, workers=0)
    feed = as_feed(batches)
    feed.example()  # building looks at a batch, which must not move the order on
    first, second = ([b["y"].tolist() for b in feed.open(epoch, 0)] for epoch in (0, 1))
    assert first == [y.tolist() for _, y in batches.open_epoch(0)] and first != second
    assert [b["y"].tolist() for b in feed.open(1, 1)] == second[1:]
