"""What `run.py` measures: the side of the worker, and the side that asks."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frameworks
import numpy as np
import workers
import workloads
from workers import Worker, WorkerError, in_turn

HERE = Path(__file__).resolve().parent
SCRIPT = str(HERE / "run.py")
SAME = 1e-3  # how far losses and outputs may be apart, as a part
INFER_SECONDS = 0.1  # of one round of predictions
ROWS_COMPARED = 8

USUAL = {"rows": 16_384, "batch": 64, "width": 128, "epochs": 1}
GROWTH = {
    "batch": [{"batch": n} for n in (8, 64, 512)],
    "width": [{"width": n} for n in (32, 128, 512, 2048)],
    "data": [{"rows": n} for n in (1024, 16_384, 49_152)],
    "epochs": [{"rows": 4096, "epochs": n} for n in (1, 5, 20)],
}
GROWING = ["cenote", "torch", "keras-tf", "keras-jax"]
PROGRAMS = {  # a name and what it runs
    "cenote": ("mnist_cenote.py", "cenote"),
    "cenote, first time": ("mnist_cenote.py", "cenote"),
    "torch": ("mnist_torch.py", "torch"),
    "keras-tf": ("mnist_keras.py", "keras-tf"),
    "keras-jax": ("mnist_keras.py", "keras-jax"),
    "keras-torch": ("mnist_keras.py", "keras-torch"),
}


# -- the worker ------------------------------------------------------------------------------------------------------------


def work(name: str, workload: str) -> None:
    """Answer what is asked of one framework and one workload; peak memory of a worker is that of this work alone."""
    answers = workers.channel()
    if workload == "peaks":
        return workers.serve(lambda asked: None, peaks(name), answers)
    began = time.perf_counter()
    try:
        frameworks.load(name)
    except ImportError as error:
        return workers.serve(lambda asked: None, {"missing": str(error)}, answers)
    imported = time.perf_counter() - began
    framework = frameworks.make(name, workload)
    grown: dict[str, Any] = {}
    ways: dict[str, Any] = {}

    def answer(asked: dict[str, Any]) -> Any:
        what = asked.pop("do")
        cpu, began = cpu_seconds(), time.perf_counter()
        found: Any = None
        if what == "check":
            found = framework.check()
        elif what == "begin":
            found = framework.begin()
        elif what == "train":
            found = framework.train(**asked)
        elif what == "grow":
            key = json.dumps(asked)
            if key not in grown:
                grown[key] = framework.grown(**asked)
            grown[key]()
        elif what == "ways":
            framework.restore()
            ways.update(framework.ways())
            x = framework.given(ROWS_COMPARED)
            found = {way: np.asarray(run(x)).reshape(ROWS_COMPARED, -1)[:, :64].tolist() for way, run in ways.items()}
        elif what == "infer":
            run, x = ways[asked["way"]], framework.given(asked["rows"])
            began = time.perf_counter()
            for _ in range(asked["calls"]):
                run(x)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "cpu": cpu_seconds() - cpu, "peak": workers.memory("VmHWM"), "found": found}

    workers.serve(answer, {"import": imported, "version": framework.version, "imported": workers.memory("VmRSS")}, answers)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peaks(name: str) -> dict[str, Any]:
    """The best of ten products of 2048x2048 matrices, in GFLOP/s, and of ten scalings of 256 MiB, in GB/s read and written."""
    side, numbers = 2048, 1 << 26
    if name == "torch":
        import torch

        a, x = torch.rand(side, side), torch.rand(numbers)
        y = torch.empty_like(x)

        def scaling() -> None:
            torch.mul(x, 2.0, out=y)

        def product() -> None:
            torch.mm(a, a)
    else:
        import jax
        import jax.numpy as jnp

        a, x = jnp.ones((side, side)), jnp.ones(numbers)
        dot, twice = jax.jit(jnp.matmul), jax.jit(lambda x: x * 2, donate_argnums=0)
        held = [x]

        def scaling() -> None:
            held[0] = twice(held[0]).block_until_ready()

        def product() -> None:
            dot(a, a).block_until_ready()

    products = [2 * side**3 / workers.timed(product) / 1e9 for _ in range(11)][1:]
    scalings = [8 * numbers / workers.timed(scaling) / 1e9 for _ in range(11)][1:]
    return {"product": max(products), "traffic": max(scalings), "noise": workers.spread(products)}


# -- who asks --------------------------------------------------------------------------------------------------------------


class Bench:
    """Settings of a run, and the caches that belong to it alone: what is compiled here is compiled for the first time."""

    def __init__(self, names: list[str], rounds: int, seconds: float, pythons: dict[str, str], mnist: str) -> None:
        self.names, self.rounds, self.seconds, self.pythons, self.mnist = names, rounds, seconds, pythons, mnist
        self.caches = Path(tempfile.mkdtemp(prefix="cenote-bench-"))

    def close(self) -> None:
        shutil.rmtree(self.caches, ignore_errors=True)

    def python(self, name: str) -> str:
        return self.pythons.get(name) or self.pythons.get(name.partition("-")[0]) or sys.executable

    def environment(self, name: str) -> dict[str, str]:
        return {
            **frameworks.environment(name),
            "BENCH_MNIST": self.mnist,
            "CENOTE_COMPILATION_CACHE": str(self.caches / "cenote"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.caches / "inductor"),
        }

    def start(self, name: str, workload: str) -> Worker:
        return Worker(name, SCRIPT, [name, workload], self.python(name), self.environment(name))

    @contextlib.contextmanager
    def started(self, workload: str, names: list[str], records: dict[str, dict[str, Any]]) -> Iterator[dict[str, Worker]]:
        """Workers that are ready, one begun after the other; of the others ``records`` says why they are not."""
        running: dict[str, Worker] = {}
        try:
            for name in names:
                records[name] = {"workload": workload, "framework": name, "status": "ok"}
                worker = running[name] = self.start(name, workload if workload != "growth" else "mlp")
                try:
                    hello = worker.hear()
                except WorkerError as error:
                    hello = {"failed": str(error)}
                records[name] |= {k: v for k, v in hello.items() if k not in ("missing", "failed")}
                if "missing" in hello:
                    records[name]["status"] = "not installed"
                elif "failed" in hello:
                    records[name]["status"] = f"failed: {hello['failed'][:200]}"
                if records[name]["status"] != "ok":
                    running.pop(name).end()
            yield running
        finally:
            for worker in running.values():
                worker.end()

    def ask(self, running: dict[str, Worker], records: dict[str, Any], name: str, **what: Any) -> Any:
        """The answer; None where the worker has ended, which is written down and keeps it from being asked again."""
        try:
            return running[name].ask(what)
        except WorkerError as error:
            records[name]["status"] = f"failed: {str(error)[:200]}"
            running.pop(name).end()
            return None

    # -- one workload ------------------------------------------------------------------------------------------------------

    def workload(self, workload: str) -> list[dict[str, Any]]:
        """Train and predict one workload everywhere."""
        records: dict[str, dict[str, Any]] = {}
        with self.started(workload, frameworks.of(workload, self.names), records) as running:
            self.train(workloads.find(workload), running, records)
            self.infer(workloads.find(workload), running, records)
        compare(records)
        return list(records.values())

    def train(self, workload: Any, running: dict[str, Worker], records: dict[str, dict[str, Any]]) -> None:
        epochs: dict[str, int] = {}
        for name in [n for n in running if n != "onnxruntime"]:  # one after the other: first calls do not disturb each other
            record = records[name]
            if found := self.ask(running, records, name, do="check"):
                record["losses"], record["check"] = found["found"], found["seconds"]
                found = self.ask(running, records, name, do="begin")
            if found:
                record["fresh"] = found["found"]
                found = self.ask(running, records, name, do="train", epochs=workload.EPOCHS)
            if found:
                record["first"] = found["seconds"]
                if found["seconds"] > self.seconds and workload.EPOCHS > 1:  # how long is an epoch without compiling?
                    found = self.ask(running, records, name, do="train", epochs=1)
            if found:
                most = workload.EPOCHS if found["seconds"] == record["first"] else round(self.seconds / found["seconds"])
                epochs[name] = max(1, min(workload.EPOCHS, most))
                record |= {"steps": workload.ROWS // workload.BATCH, "epochs": epochs[name], "us": [], "cpu_us": []}
        for name in in_turn(list(epochs), self.rounds):
            if name in running and (found := self.ask(running, records, name, do="train", epochs=epochs[name])):
                steps = epochs[name] * records[name]["steps"]
                records[name]["us"].append(found["seconds"] / steps * 1e6)
                records[name]["cpu_us"].append(found["cpu"] / steps * 1e6)
                records[name]["peak"] = found["peak"]

    def infer(self, workload: Any, running: dict[str, Worker], records: dict[str, dict[str, Any]]) -> None:
        if not workload.INFER:
            return
        calls: dict[tuple[str, str, int], int] = {}
        for name in list(running):
            found = self.ask(running, records, name, do="ways")
            if not found:
                continue
            records[name] |= {"outputs": found["found"], "predict": {way: {} for way in found["found"]}}
            for way in found["found"]:
                for rows in workload.INFER:
                    for times in (1, 3):  # the first call compiles
                        found = self.ask(running, records, name, do="infer", way=way, rows=rows, calls=times) if found else None
                    if found:
                        calls[name, way, rows] = max(1, round(INFER_SECONDS * 3 / found["seconds"]))
                        records[name]["predict"][way][str(rows)] = []
        for key in in_turn(list(calls), self.rounds):
            name, way, rows = key
            if name in running:
                found = self.ask(running, records, name, do="infer", way=way, rows=rows, calls=calls[key])
                if found:
                    records[name]["predict"][way][str(rows)].append(found["seconds"] / calls[key] * 1e6)

    # -- growth and whole programs -----------------------------------------------------------------------------------------

    def growth(self) -> list[dict[str, Any]]:
        """Seconds of `fit` of an MLP on MNIST as one thing grows; the first call of each size is left out."""
        records: dict[str, dict[str, Any]] = {}
        points = [(kind, json.dumps(point), {**USUAL, **point}) for kind, several in GROWTH.items() for point in several]
        with self.started("growth", [n for n in GROWING if n in self.names], records) as running:
            for name in list(running):
                records[name]["growth"] = {}
            for kind, key, point in points:
                for name in list(running):
                    if self.ask(running, records, name, do="grow", **point):
                        records[name]["growth"].setdefault(kind, {})[key] = []
                for name in in_turn(list(running), min(self.rounds, 3)):
                    if name in running and (found := self.ask(running, records, name, do="grow", **point)):
                        records[name]["growth"][kind][key].append(found["seconds"])
        return list(records.values())

    def programs(self) -> list[dict[str, Any]]:
        """Whole programs from the start of the process to its end, in rounds."""
        records: dict[str, dict[str, Any]] = {}
        wanted = {name: what for name, what in PROGRAMS.items() if what[1] in self.names}
        for name in wanted:
            records[name] = {"workload": "program", "framework": name, "status": "ok", "seconds": [], "said": []}
        kept = self.caches / "program"
        with tempfile.TemporaryDirectory() as empty:
            self.program(wanted, "cenote", kept, {}) if "cenote" in wanted else None  # fills the cache
            for number, name in enumerate(in_turn(list(wanted), min(self.rounds, 3))):
                if records[name]["status"] == "ok":
                    cache = Path(empty) / str(number) if "first" in name else kept
                    self.program(wanted, name, cache, records[name])
        return list(records.values())

    def program(self, wanted: dict[str, tuple[str, str]], name: str, cache: Path, record: dict[str, Any]) -> None:
        script, framework = wanted[name]
        command = [self.python(framework), str(HERE / "programs" / script), self.mnist]
        env = {**os.environ, **self.environment(framework), "CENOTE_COMPILATION_CACHE": str(cache)}
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            record["status"] = "not installed" if "ModuleNotFoundError" in last else f"failed: {last[:200]}"
        elif record:
            record["seconds"].append(seconds)
            record["said"].append(json.loads(done.stdout.strip().splitlines()[-1]))

    def machine_peaks(self) -> dict[str, Any]:
        """The machine's best at products and at traffic, by whichever library reaches more."""
        found = {}
        for name in ("cenote", "torch"):
            with contextlib.suppress(WorkerError):
                worker = self.start(name, "peaks")
                try:
                    found[name] = worker.hear()
                finally:
                    worker.end()
        best = {what: max((f[what] for f in found.values()), default=float("nan")) for what in ("product", "traffic")}
        return {**best, "noise": max((f["noise"] for f in found.values()), default=float("nan")), "by": found}


def compare(records: dict[str, dict[str, Any]]) -> None:
    """Write into each record how far its losses and outputs are from the median of all, as a part."""
    for what in ("losses", "outputs"):
        values = {}
        for name, record in records.items():
            if record.get(what):
                values[name] = record.pop(what) if what == "outputs" else record[what]
        if what == "outputs":
            values = {(name, way): v for name, ways in values.items() for way, v in ways.items()}
        if not values:
            continue
        middle = np.median([np.asarray(v) for v in values.values()], axis=0)
        for key, value in values.items():
            name = key if isinstance(key, str) else key[0]
            scale = np.abs(middle) if what == "losses" else np.abs(middle).max()
            off = float((np.abs(np.asarray(value) - middle) / scale).max())
            off = float("inf") if np.isnan(off) else off
            records[name][f"{what}_off"] = max(off, records[name].get(f"{what}_off", 0.0))
