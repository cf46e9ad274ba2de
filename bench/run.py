"""The same networks in Cenote, PyTorch, Keras (on TensorFlow, JAX and PyTorch) and onnxruntime, side by side.

    make bench                                              # sets up the peers in .venv-bench, runs all, writes the page
    python bench/run.py                                     # all, with the frameworks that are installed here
    python bench/run.py --only mlp cnn --frameworks cenote torch keras-tf --rounds 9
    python bench/run.py --python keras=OTHER/bin/python     # another interpreter for some of them
    python bench/run.py --write                             # what is there, as bench/results/<date>.md and .svg

Each framework runs in a process of its own for each workload (workloads/), and the processes stay alive; rounds go through them
in turn, in reversed order every other round. First come, one framework after the other: import, the first steps from the same
weights on the same batches (their losses must agree to 0.1 %), and a first round; what these take above a later round is "first
calls". Then come the measured rounds, each one call of fit over all the data (of several epochs where one is short), then
predictions. Everything is compiled anew in each run, except our C++ kernels. Fractions of the machine's peaks are of what is
needed at least (workloads/count.py).

Every result is a line of bench/results/<date>.jsonl as soon as its workload is done; a call made again does what is missing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import frameworks
import measure
import workers
import workloads

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))  # the Cenote of this checkout, also where another one is installed
PARTS = [*workloads.NAMES, "program", "growth"]
MNIST = """
import os, sys, numpy, cenote
(a, b), (c, d) = cenote.datasets.mnist.load_data()
n = 640 if os.environ.get("BENCH_TINY") else None
numpy.savez(sys.argv[1], x_train=a[:n], y_train=b[:n], x_test=c[:n], y_test=d[:n])
"""


def known(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def keep(path: Path, workload: str, found: list[dict]) -> None:
    """Put the lines of a workload in place of older ones."""
    rest = [r for r in known(path) if r["workload"] != workload]
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text("".join(json.dumps(r) + "\n" for r in [*rest, *found]), "utf-8")
    os.replace(new, path)


def missing(path: Path, part: str, names: list[str]) -> bool:
    """Whether something of a part is not there for a framework that can do it."""
    done = {r["framework"] for r in known(path) if r["workload"] == part}
    if part == "program":
        return not {name for name, (_, of) in measure.PROGRAMS.items() if of in names} <= done
    if part == "growth":
        return not {n for n in names if n in measure.GROWING} <= done
    return not set(frameworks.of(part, names)) <= done


def machine(bench: measure.Bench, before: list[dict]) -> dict:
    """What is known of the machine; the best peaks and the highest load of all calls that wrote into the same file."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")  # before there is any of ours
    peaks = bench.machine_peaks()
    for record in before:
        if record["workload"] == "machine":
            best = {what: max(peaks[what], record["peaks"][what]) for what in ("product", "traffic")}
            peaks = {**peaks, **best, "noise": max(peaks["noise"], record["peaks"]["noise"])}
            load = max(load, record["load"])
    said = {"says": workers.machine(), "load": load, "peaks": peaks, "versions": versions(bench), "rounds": bench.rounds}
    return {"workload": "machine", "framework": "", **said, "tiny": bool(os.environ.get("BENCH_TINY"))}


def versions(bench: measure.Bench) -> dict[str, str]:
    """Of packages beside those that the rows name."""
    code = "import importlib.metadata as m, json\nprint(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    found: dict[str, str] = {}
    for python in {bench.python(name) for name in bench.names}:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found = {**json.loads(done.stdout), **found}
    return {
        n.replace("_", "-"): v
        for n, v in found.items()
        if n.replace("_", "-") in ("jax", "numpy", "tensorflow", "tensorflow-cpu")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--frameworks", nargs="+", choices=frameworks.NAMES, default=frameworks.NAMES, metavar="NAME",
                        help=", ".join(frameworks.NAMES))  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="that a round of training may take, one epoch at least (default: 2)"
    )
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=PATH", help="another interpreter for a framework")
    parser.add_argument("--lines", type=Path, default=HERE / "results" / f"{date.today()}.jsonl", help="the file of results")
    parser.add_argument("--tiny", action="store_true", help="a few steps of each, to see whether everything works")
    parser.add_argument("--redo", action="store_true", help="measure again what is there")
    parser.add_argument("--write", action="store_true", help="write the page and the picture beside the lines")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return measure.work(*args.worker)
    if args.tiny:
        os.environ["BENCH_TINY"] = "1"
    if args.rounds < 1:
        parser.error("--rounds is at least 1")
    try:
        pythons = workers.pythons(args.python)
    except ValueError as error:
        parser.error(str(error))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        mnist = str(Path(folder) / "mnist.npz")
        bench = measure.Bench(args.frameworks, args.rounds, args.seconds, pythons, mnist)
        try:
            wanted = [p for p in args.only if args.redo or missing(args.lines, p, args.frameworks)]
            if wanted:
                os.environ["PYTHONPATH"] = os.pathsep.join(
                    [str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
                )
                subprocess.run([bench.python("cenote"), "-c", MNIST, mnist], check=True)
                keep(args.lines, "machine", [machine(bench, known(args.lines))])
            for part in wanted:
                start = time.perf_counter()
                found = {"program": bench.programs, "growth": bench.growth}.get(part, lambda p=part: bench.workload(p))()
                keep(args.lines, part, found)
                print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
                print(page(args.lines, [part]), flush=True)
        finally:
            bench.close()
    if wanted:
        print(f"{time.perf_counter() - began:.0f} s in all", file=sys.stderr)
    if args.write:
        from report import draw

        draw(known(args.lines), args.lines.with_suffix(".svg"))
        args.lines.with_suffix(".md").write_text(page(args.lines, PARTS, whole=True), "utf-8")
        print(f"written: {args.lines.with_suffix('.md')}", file=sys.stderr)
    elif not wanted:
        print(page(args.lines, args.only))


def page(path: Path, parts: list[str], *, whole: bool = False) -> str:
    from report import page

    return page(known(path), parts, whole=whole)


if __name__ == "__main__":
    main()
