"""Explanations in Cenote and in captum, shap, lime and scikit-learn, of the same function: interleaved rounds, medians, ratios.

    python bench/explain.py                                    # all workloads, every library that is installed here
    python bench/explain.py ig_mlp deepshap --rounds 9
    python bench/explain.py --python captum=/venv/bin/python shap=/venv/bin/python lime=/venv/bin/python

Each library runs in a process of its own for each workload, with the same weights and inputs (explain_peers/work.py). The first
call, in a fresh process, is reported as "cold": compilation is included, and Cenote's store of compiled programs on disk, which
later processes would use, is left aside; importing is apart. Then come rounds that go through the processes in turn, in
reversed order every other round. "memory" is the most memory that the process took above what it had before its first call,
over all rounds. captum-tuned is captum with internal_batch_size or perturbations_per_eval set: by default it takes all nodes of
all rows together, or one window at a time. The answers are compared: of exact methods they must agree to 0.1 % of the largest
value, of methods that draw samples to 30 %; a run in which they do not ends with an error.
"""

import argparse
import base64
import importlib
import statistics
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import workers
from explain_peers.work import WORKLOADS, Work

HERE = Path(__file__).resolve().parent
PEERS = ["captum", "captum-tuned", "shap", "lime", "sklearn"]


# -- worker ----------------------------------------------------------------------------------------------------------------


def worker(peer: str, workload: str) -> None:
    """Answers "go" with the seconds of one round, "end" with its memory and what it computed."""
    answers = workers.channel()
    began = time.perf_counter()
    library, _, tuned = peer.partition("-")
    module = importlib.import_module(f"explain_peers.of_{library}")
    hello = {"import": time.perf_counter() - began, "version": module.VERSION}
    held: dict[str, Any] = {}

    def answer(asked: str) -> Any:
        if asked == "end":
            array = np.ascontiguousarray(held["values"], "float32")
            packed = base64.b64encode(array.tobytes()).decode()
            return {"memory": workers.memory("VmHWM") - held["before"], "shape": array.shape, "values": packed}
        if "explain" not in held:
            held["explain"], held["before"] = module.prepare(workload, bool(tuned)), workers.memory("VmRSS")
        began = time.perf_counter()
        held["values"] = held["explain"]()
        return time.perf_counter() - began

    workers.serve(answer, hello, answers)


# -- driver ----------------------------------------------------------------------------------------------------------------


def measure(workload: str, rounds: int, peers: list[str], pythons: dict[str, str]) -> tuple[dict[str, dict], list[str]]:
    """What was found of each library, and of those that could not be measured, why."""
    names = ["cenote", *(p for p in WORKLOADS[workload].peers if p in peers)]
    running, missing, found = {}, [], {}
    for name in names:  # all begin together: importing is not what is compared
        library = name.partition("-")[0]
        python = pythons.get(name, pythons.get(library, sys.executable))
        # Cold is cold: what an earlier run has compiled is left aside.
        running[name] = workers.Worker(name, __file__, [name, workload], python, {"CENOTE_COMPILATION_CACHE": "0"})
    for name, peer in list(running.items()):
        try:
            found[name] = peer.hear()
        except workers.WorkerError as error:
            missing.append(f"{name} was not measured: {error} (give --python {name.partition('-')[0]}=/path/to/python)")
            del running[name]
    for name, peer in list(running.items()):  # one after the other, so that first calls do not disturb each other
        try:
            found[name]["cold"] = peer.ask("go")
        except workers.WorkerError as error:
            missing.append(f"{name} was not measured: {error}")
            del running[name], found[name]
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for name in workers.in_turn(list(running), rounds):
        seconds[name].append(running[name].ask("go"))
    for name, peer in running.items():
        found[name] |= peer.ask("end")
        peer.end()
        found[name] |= {"warm": statistics.median(seconds[name]), "spread": workers.spread(seconds[name])}
    ours = answer(found["cenote"]) if "cenote" in found else None
    for name in found:
        theirs = answer(found[name])
        same = ours is not None and theirs.shape == ours.shape
        found[name]["off"] = float(np.abs(theirs - ours).max() / np.abs(theirs).max()) if same else float("nan")
    return found, missing


def answer(found: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(found["values"]), "float32").reshape(found["shape"])


def table(name: str, work: Work, found: dict[str, dict], missing: list[str]) -> str:
    ours = found.get("cenote")
    lines = [
        f"### {name}",
        "",
        f"{work.says}.",
        "",
        "| library | warm, ms | ratio | spread | cold, s | ratio | memory, MiB | ratio | import, s | answers differ |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for peer, f in found.items():

        def against(what: str, f: dict = f) -> str:
            return f"{f[what] / max(ours[what], 1e-6):.2f}" if ours else "-"

        off = "" if peer == "cenote" else f"{f['off']:.1e}"
        off += "" if peer == "cenote" or f["off"] <= work.near else " (TOO MUCH)"
        lines.append(
            f"| {peer} {f['version']} | {f['warm'] * 1e3:.2f} | {against('warm')} | {f['spread']:.0%} | {f['cold']:.2f} | "
            f"{against('cold')} | {f['memory']:.0f} | {against('memory')} | {f['import']:.1f} | {off} |"
        )
    return "\n".join([*lines, *(f"\n{line}." for line in missing)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"some of {', '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PATH", help="another interpreter for a library")
    parser.add_argument("--write", action="store_true", help="keep the tables in bench/results/<date>-explain.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker)
    strangers = set(args.workloads) - set(WORKLOADS)
    if strangers:
        parser.error(f"no workload called {', '.join(strangers)}; there are {', '.join(WORKLOADS)}")
    if args.rounds < 1:
        parser.error("--rounds is at least 1")
    pythons = workers.pythons(args.python)
    began = time.perf_counter()
    head = f"{date.today()}, {workers.machine()}, {args.rounds} rounds after the first call"
    tables, wrong = [f"# Explanations side by side\n\n{head}. Ratios above 1: Cenote is faster, or takes less memory.\n"], []
    print(tables[0])
    for name in args.workloads or list(WORKLOADS):
        found, missing = measure(name, args.rounds, args.peers, pythons)
        tables.append(table(name, WORKLOADS[name], found, missing))
        print(tables[-1], flush=True)
        wrong += [f"{name}: {p}" for p, f in found.items() if p != "cenote" and not f["off"] <= WORKLOADS[name].near]
        wrong += [f"{name}: cenote gave no answer"] * ("cenote" not in found)
    print(f"{time.perf_counter() - began:.0f} s in all")
    if args.write:
        path = HERE / "results" / f"{date.today()}-explain.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(tables), encoding="utf-8")
    if wrong:
        sys.exit("the answers differ: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
