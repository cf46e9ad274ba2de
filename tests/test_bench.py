"""The benchmark's own arithmetic: what a step costs at least, turns, resuming, and the tables with what is missing."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
OURS = ("count", "frameworks", "measure", "readme", "report", "run", "workers", "workloads")


@pytest.fixture(scope="module")
def bench() -> dict[str, ModuleType]:
    """The modules of the folder, which is no package."""
    if not BENCH.exists():
        pytest.skip("the benchmark is not part of the package")
    sys.path.insert(0, str(BENCH))
    path = list(sys.path)
    try:
        found = {name: importlib.import_module(name) for name in ("measure", "readme", "report", "run", "workers", "workloads")}
        found |= {name: importlib.import_module(f"workloads.{name}") for name in ("count", "weights")}
        yield found
    finally:
        sys.path[:] = [p for p in path if p != str(BENCH)]
        for name in [n for n in sys.modules if n.partition(".")[0] in OURS]:
            del sys.modules[name]


def test_what_a_step_costs(bench):
    count = bench["count"]
    parts = bench["workloads"].find("mlp").parts()
    assert sum(p.weights for p in parts) == 101_770  # Keras's summary of this network
    products = 2 * (784 * 128 * 2 + 128 * 10 * 3)  # the first layer needs no gradient of its input
    assert count.training_operations(parts, 32) == 32 * products
    moved = 101_770 * (4 + 2 * 3) + 32 * (784 + 4 * 138)
    assert count.training_bytes(parts, 32, 784, "adam") == 4 * moved
    assert count.training_bytes(parts, 32, 784, "sgd") == 4 * (moved - 4 * 101_770)


@pytest.mark.parametrize(
    ("workload", "weights"),  # as PyTorch counts them, but one bias of the LSTM
    [("linear", 3), ("autoencoder", 50_992), ("cnn", 225_034), ("resnet20", 272_474), ("lstm", 81_674), ("gpt", 10_697_537)],
)
def test_how_many_weights(bench, workload, weights):
    counted = sum(p.weights for p in bench["workloads"].find(workload).parts())
    assert abs(counted - weights) <= 0.01 * weights  # biases and scales are not all counted


def test_weights_are_the_same_for_the_same_place(bench):
    weights = bench["weights"]
    plain = [np.zeros(3, "float32"), np.ones((2, 2), "float32")]
    given = [np.full((4, 3), 0.5, "float32"), *plain, np.full((3, 3), 0.5, "float32")]
    found = weights.drawn(given)
    assert found[1] is plain[0] and found[2] is plain[1]
    np.testing.assert_array_equal(found[0], weights.draw(0, (4, 3)))
    np.testing.assert_array_equal(found[3], weights.draw(1, (3, 3)))


def test_losses_that_differ_are_marked(bench):
    records = {
        name: {"workload": "mlp", "framework": name, "losses": [2.3, loss]}
        for name, loss in [("cenote", 1.0), ("torch", 1.0), ("keras-tf", 1.01)]
    }
    bench["measure"].compare(records)
    assert records["cenote"]["losses_off"] == 0
    assert records["keras-tf"]["losses_off"] == pytest.approx(0.01)


def record(framework: str, us: list[float], **more) -> dict:
    usual = {"status": "ok", "version": "1", "import": 0.5, "check": 1.0, "first": 2.0, "fresh": False, "steps": 50,
             "epochs": 1, "peak": 500.0, "losses_off": 1e-6}  # fmt: skip
    return {"workload": "cnn", "framework": framework, "us": us, **usual, **more}


def test_the_page_says_what_was_found_and_what_is_missing(bench):
    lost = {"workload": "cnn", "framework": "keras-jax", "status": "not installed"}
    ended = {"workload": "cnn", "framework": "keras-torch", "status": "failed: out of memory"}
    ort = {"workload": "cnn", "framework": "onnxruntime", "status": "ok", "version": "1", "outputs_off": 0.0,
           "predict": {"run": {"1": [10.0], "64": [50.0]}}}  # fmt: skip
    ours = record("cenote", [100.0, 120.0, 110.0], outputs_off=1e-7, predict={"predict": {"1": [20.0], "64": [100.0]}})
    torch = record("torch", [220.0, 200.0, 231.0], losses_off=0.5)
    machine = {"workload": "machine", "says": "a machine", "load": 3.0, "versions": {"jax": "1"}, "rounds": 3, "tiny": False,
               "peaks": {"product": 500.0, "traffic": 40.0, "noise": 0.1}}  # fmt: skip
    records = [machine, ours, torch, lost, ended, ort]
    page = bench["report"].page(records, ["cnn", "mlp"], whole=True)
    rows = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in page.splitlines() if "|" in line}
    assert rows["cenote 1"][:3] == ["110.0", "1.00", "18%"]
    assert rows["torch 1"][:2] == ["220.0", "2.00"] and "**no**" in rows["torch 1"][-1]
    assert rows["keras-jax"][0] == "not installed" and rows["keras-torch"][0] == "failed: out of memory"
    assert rows["onnxruntime 1 run"] == ["10.0", "0.50", "50.0", "0.50", "0e+00"]
    assert rows["cnn"] == ["110", "**2.00**", "1", "yes"]
    assert rows["cnn, 64 rows"] == ["100.0", "-", "-", "0.50"]
    assert "not quiet" in page and "### mlp" not in page


def test_the_readmes_have_the_figures_of_the_last_run(bench, tmp_path):
    """Both READMEs say what the newest results say, as `python bench/readme.py` puts it."""
    readme, results = bench["readme"], sorted((BENCH / "results").glob("????-??-??.jsonl"))[-1]
    records = bench["run"].known(results)
    for name, chinese in (("README.md", False), ("README.zh-CN.md", True)):
        text = readme.words(records, f"{results.stem}.md", chinese)
        assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 * 2 + 8 + 17
        before = (BENCH.parent / name).read_text("utf-8")
        (tmp_path / name).write_text(before, "utf-8")
        readme.put(tmp_path / name, text)
        assert (tmp_path / name).read_text("utf-8") == before
    with pytest.raises(SystemExit, match="expected one pair of marks"):
        (tmp_path / "other.md").write_text("nothing", "utf-8")
        readme.put(tmp_path / "other.md", text)


def test_what_is_there_is_not_measured_again(bench, tmp_path):
    run, path = bench["run"], tmp_path / "results" / "day.jsonl"
    names = ["cenote", "torch", "torch-channels-last", "onnxruntime"]
    assert run.missing(path, "linear", names)
    run.keep(path, "linear", [record("cenote", [1.0]), record("torch", [2.0])])
    run.keep(path, "mlp", [])
    for line in path.read_text().splitlines():
        assert json.loads(line)["workload"] == "cnn"
    done = [{"workload": "linear", "framework": n, "status": "ok"} for n in ("cenote", "torch")]
    run.keep(path, "linear", done)
    run.keep(path, "linear", done)
    assert not run.missing(path, "linear", names)  # the other two have nothing to do there
    assert run.missing(path, "linear", [*names, "keras-tf"]) and run.missing(path, "mlp", names)
    assert sum(r["workload"] == "linear" for r in run.known(path)) == 2


def test_a_worker_that_ends_says_why(bench, tmp_path):
    workers = bench["workers"]
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nsys.path.insert(0, sys.argv[2])\nimport workers\nout = workers.channel()\nprint('a banner')\n"
        "workers.serve(lambda asked: 1 / asked, 'hello', out)\n"
    )
    worker = workers.Worker("any", str(script), [str(BENCH)])
    assert worker.hear() == "hello" and worker.ask(4) == 0.25
    with pytest.raises(workers.WorkerError, match="division by zero"):
        worker.ask(0)
    worker.end()
    assert "".join(workers.in_turn("abc", 2)) == "abccba"
    with pytest.raises(ValueError, match="NAME=PATH"):
        workers.pythons(["torch"])
