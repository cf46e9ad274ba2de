"""The same work in Cenote and in its peers, side by side: interleaved rounds, medians, ratios.

    python bench/side_by_side.py                               # all workloads, every peer that is installed
    python bench/side_by_side.py mnist_quickstart --rounds 7 --peers keras-jax torch
    python bench/side_by_side.py --python keras-tf=/path/to/other/venv/bin/python

Each framework runs in a process of its own that stays alive; the rounds go through the processes in turn, in reversed order
every other round, so that a machine that slows down slows all of them. A round is one call of fit, of one to three epochs (or
the stated number of steps), after a warm-up round. The warm-up is reported apart as "first round" (compilation included), and
so is the time to import.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKLOADS = {
    "mnist_quickstart": "MLP 784-128-dropout 0.2-10, batch 32, Adam, a step",
    "mnist_dropout": "MLP 784-128-dropout 0.5-10, batch 64, Adam, a step",
    "mnist_cnn": "CNN 32-64-dense 128, batch 128, Adam, a step (12,800 pictures)",
    "linear_regression": "2 features, 100 rows, SGD, full batch, an epoch of 1000 by fit",
    "linear_loop": "the same by an explicit loop of train_on_batch",
}
PEERS = ["cenote", "keras-jax", "keras-tf", "keras-torch", "torch"]


def worker(peer: str, workload: str) -> None:
    """Answers each line on stdin with the seconds of one round, as JSON."""
    began = time.perf_counter()
    sys.path.insert(0, str(HERE))
    import workloads

    framework = workloads.load(peer)
    imported = time.perf_counter() - began
    round_, units = framework.prepare(workload)
    began = time.perf_counter()
    round_()
    first = time.perf_counter() - began
    print(json.dumps({"import": imported, "first": first, "units": units, "version": framework.version}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        round_()
        print(json.dumps(time.perf_counter() - began), flush=True)


def start(peer: str, workload: str, pythons: dict[str, str]) -> subprocess.Popen:
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if peer.startswith("keras-"):
        env["KERAS_BACKEND"] = {"tf": "tensorflow"}.get(peer[6:], peer[6:])
    command = [pythons.get(peer, sys.executable), __file__, "--worker", peer, workload]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def answer(process: subprocess.Popen) -> object:
    while line := process.stdout.readline():
        try:
            return json.loads(line)
        except ValueError:
            continue  # what a framework prints of its own
    return None


def measure(workload: str, peers: list[str], rounds: int, pythons: dict[str, str]) -> dict:
    running, facts = {}, {}
    for peer in peers:  # one after the other, so that first epochs do not disturb each other
        process = start(peer, workload, pythons)
        facts[peer] = answer(process)
        if facts[peer] is None:
            error = process.communicate()[1].strip().splitlines()
            print(f"  {peer}: not measured ({error[-1] if error else 'no answer'})", file=sys.stderr)
            continue
        running[peer] = process
    times: dict[str, list[float]] = {peer: [] for peer in running}
    for i in range(rounds):
        for peer in list(running) if i % 2 == 0 else list(running)[::-1]:
            running[peer].stdin.write("go\n")
            running[peer].stdin.flush()
            times[peer].append(answer(running[peer]))
    for process in running.values():
        process.stdin.close()
        process.wait()
    return {
        peer: {
            "us": statistics.median(seconds) / facts[peer]["units"] * 1e6,
            "spread": (max(seconds) - min(seconds)) / statistics.median(seconds),
            **facts[peer],
        }
        for peer, seconds in times.items()
    }


def table(workload: str, found: dict) -> str:
    ours = found.get("cenote", {}).get("us")
    lines = [
        f"### {workload}",
        "",
        WORKLOADS[workload] + ".",
        "",
        "| framework | us a step | ratio to Cenote | spread of rounds | first round, s | import, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for peer, f in found.items():
        ratio = f"{f['us'] / ours:.2f}" if ours else "-"
        name = f"{peer} {f['version']}"
        lines.append(f"| {name} | {f['us']:.1f} | {ratio} | {f['spread']:.0%} | {f['first']:.2f} | {f['import']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"some of {', '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--python", nargs="+", default=[], metavar="PEER=PATH", help="another interpreter for a peer")
    parser.add_argument("--write", action="store_true", help="keep the tables in bench/results/<date>.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker)
    strangers = set(args.workloads) - set(WORKLOADS)
    if strangers:
        parser.error(f"no workload called {', '.join(strangers)}; there are {', '.join(WORKLOADS)}")
    pythons = dict(item.split("=", 1) for item in args.python)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    head = f"{date.today()}, {machine}, {args.rounds} rounds"
    tables = [f"# Side by side\n\n{head}. Ratios above 1: Cenote is faster.\n"]
    for workload in args.workloads or list(WORKLOADS):
        text = table(workload, measure(workload, args.peers, args.rounds, pythons))
        print(text, flush=True)
        tables.append(text)
    if args.write:
        path = HERE / "results" / f"{date.today()}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(tables))


if __name__ == "__main__":
    main()
