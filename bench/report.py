"""Tables and the picture of what `run.py` has measured."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import measure
import workers
import workloads
from workloads import count

OURS = "cenote"
Record = dict[str, Any]


def page(records: list[Record], parts: list[str], *, whole: bool = False) -> str:
    """All tables; with ``whole`` the head and the summary, too."""
    machine = next((r for r in records if r["workload"] == "machine"), {})
    text: list[str] = []
    if whole:
        text += [f"# Side by side, {date.today()}", "", *head(machine), "", *summary(records), "", *predicting(records), ""]
        text += ["## Training", "", TRAINING, ""]
    for part in parts:
        mine = [r for r in records if r["workload"] == part]
        if not mine:
            continue
        if part == "program":
            text += ["## Whole programs" if whole else "### Whole programs", "", *programs(mine), ""]
        elif part == "growth":
            text += ["## Growth" if whole else "### Growth", "", *growth(mine), ""]
        else:
            text += [f"### {part}", "", f"{workloads.find(part).SAYS}.", "", *training(part, mine, machine), ""]
            text += [*prediction(mine), ""] if any(r.get("predict") for r in mine) else []
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text)).rstrip() + "\n"


TRAINING = (
    "Medians of interleaved rounds. Ratios above 1: Cenote is faster. Spread: largest less smallest round, as a part of the "
    "median. First calls: what check and first round took above the same work later, compilation mostly, nothing cached; "
    "import apart. Memory: the most that the process held. Product and traffic: parts of what the machine can do at most, "
    "counting what is needed at least. Agrees: how far the loss after the first steps from the same weights is from the "
    "median of all."
)


def head(machine: Record) -> list[str]:
    if not machine:
        return []
    peaks, versions = machine["peaks"], ", ".join(f"{k} {v}" for k, v in sorted(machine["versions"].items()))
    said = [
        f"{machine['says']}; {versions}; no GPU; {machine['rounds']} interleaved rounds.",
        f"Peaks: products of matrices {peaks['product']:.0f} GFLOP/s, traffic {peaks['traffic']:.0f} GB/s.",
        f"Load at the start {machine['load']:.2f}; ten equal products spread {peaks['noise']:.0%}.",
    ]
    if not machine["load"] < 0.5:
        said.append("**The machine was not quiet**: read ratios near 1 as undecided.")
    if machine["tiny"]:
        said.append("**Only a look, with a few steps of each**: the numbers mean nothing.")
    return [" ".join(said)]


# -- training --------------------------------------------------------------------------------------------------------------


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def training(part: str, records: list[Record], machine: Record) -> list[str]:
    workload = workloads.find(part)
    ours = median(next((r.get("us", []) for r in records if r["framework"] == OURS), []))
    rows = []
    for record in records:
        us = median(record.get("us", []))
        if record["framework"] == "onnxruntime" and record["status"] == "ok":
            continue
        if us is None or record["status"] != "ok":
            rows.append([title(record), record["status"], *[""] * 8])
            continue
        product, traffic = fractions(workload, us, machine)
        off = record.get("losses_off", float("nan"))
        rows.append(
            [title(record), f"{us:,.1f}", ratio(us, ours), f"{workers.spread(record['us']):.0%}", f"{first_calls(record):.1f}",
             f"{record['import']:.1f}", f"{record['peak']:,.0f}", product, traffic,
             f"{off:.0e}" + ("" if off <= measure.SAME else " **no**")]
        )  # fmt: skip
    unit = "us an epoch" if workload.ROWS == workload.BATCH else "us a step"
    names = ["framework", unit, "ratio", "spread", "first calls, s", "import, s", "memory, MiB", "product", "traffic", "agrees"]
    return table(names, rows)


def fractions(workload: Any, us: float, machine: Record) -> tuple[str, str]:
    """Parts of the machine's peaks that a step of this length reaches."""
    if not machine:
        return "", ""
    parts = workload.parts()
    operations = count.training_operations(parts, workload.BATCH) / us * 1e6 / 1e9 / machine["peaks"]["product"]
    traffic = (
        count.training_bytes(parts, workload.BATCH, workload.INPUTS, workload.OPTIMIZER)
        / us
        * 1e6
        / 1e9
        / machine["peaks"]["traffic"]
    )
    return f"{operations:.2g}", f"{traffic:.2g}"


def first_calls(record: Record) -> float:
    """Seconds of check and first round above the same work later."""
    usual = median(record["us"]) * record["steps"] / 1e6
    workload = workloads.find(record["workload"])
    extra = record["first"] - usual * workload.EPOCHS
    if not record["fresh"]:  # then the check has compiled what is timed
        extra += record["check"] - usual * workload.CHECK[0] // workload.BATCH * workload.CHECK[1] / record["steps"]
    return max(0.0, extra)


def prediction(records: list[Record]) -> list[str]:
    """Microseconds of one call for each number of rows, by each framework's ways."""
    sizes = next(list(way) for r in records if r.get("predict") for way in r["predict"].values())
    ours = {size: best(records, OURS, size) for size in sizes}
    rows = []
    for record in records:
        if record["status"] != "ok" or not record.get("predict"):
            rows += [[title(record), record["status"], *[""] * (2 * len(sizes))]] if record["status"] != "ok" else []
            continue
        for way, found in record["predict"].items():
            cells = []
            for size in sizes:
                us = median(found.get(size, []))
                cells += [f"{us:,.1f}" if us else "-", ratio(us, ours[size])]
            off = record.get("outputs_off", float("nan"))
            rows.append([f"{title(record)} {way}", *cells, f"{off:.0e}" + ("" if off <= measure.SAME else " **no**")])
    names = ["prediction, us a call", *[n for size in sizes for n in (f"{size} rows", "ratio")], "agrees"]
    return table(names, rows)


def best(records: list[Record], framework: str, size: str) -> float | None:
    """The fastest way of a framework for a number of rows."""
    ways = [
        way for r in records if r["framework"] == framework and r["status"] == "ok" for way in r.get("predict", {}).values()
    ]
    found = [median(way[size]) for way in ways if way.get(size)]
    return min((f for f in found if f is not None), default=None)


# -- whole programs and growth ---------------------------------------------------------------------------------------------


def programs(records: list[Record]) -> list[str]:
    ours = median(next((r["seconds"] for r in records if r["framework"] == OURS), []))
    rows = []
    for r in records:
        seconds = median(r["seconds"])
        if seconds is None:
            rows.append([r["framework"], r["status"], *[""] * 4])
            continue
        said = {key: statistics.median(s[key] for s in r["said"]) for key in ("import", "rest", "accuracy")}
        rows.append([r["framework"], f"{seconds:.2f}", ratio(seconds, ours), f"{workers.spread(r['seconds']):.0%}",
                     f"{said['import']:.2f}", f"{said['accuracy']:.4f}"])  # fmt: skip
    return [
        "MNIST, MLP 784-128-dropout 0.2-10, 5 epochs of batches of 32, scored on the test pictures: from the start of the "
        'process to its end. "First time" compiles everything anew; otherwise Cenote takes its compiled programs from the '
        "disk, as in any later run.",
        "",
        *table(["program", "seconds", "ratio", "spread", "import, s", "test accuracy"], rows),
    ]


def growth(records: list[Record]) -> list[str]:
    usual = ", ".join(f"{k} {v:,}" for k, v in measure.USUAL.items())
    says = "MLP 784-width-dropout 0.2-10 on MNIST, Adam; seconds of a call of fit after the first, and as a multiple of ours."
    out = [says, f"Unless said: {usual}.", ""]
    for kind, points in measure.GROWTH.items():
        rows = []
        for record in records:
            if "growth" not in record:
                rows.append([record["framework"], record["status"], *[""] * (len(points) - 1)])
                continue
            cells = []
            for point in points:
                mine = median(record["growth"].get(kind, {}).get(json.dumps(point), []))
                ours = next((median(r["growth"].get(kind, {}).get(json.dumps(point), [])) for r in records
                             if r["framework"] == OURS and "growth" in r), None)  # fmt: skip
                cells.append("-" if mine is None else f"{mine:.3f} ({ratio(mine, ours)})")
            rows.append([title(record), *cells])
        names = [", ".join(f"{k} {v:,}" for k, v in point.items()) for point in points]
        out += [*table([f"{kind} grows", *names], rows), ""]
    return out[:-1]


# -- all in one ------------------------------------------------------------------------------------------------------------


def fastest(records: Iterable[Record]) -> tuple[str, float] | None:
    """The fastest other framework in training, and its microseconds."""
    others = [r for r in records if r["framework"] != OURS and r["status"] == "ok" and r.get("us")]
    return min(((r["framework"], statistics.median(r["us"])) for r in others), key=lambda item: item[1], default=None)


def summary(records: list[Record]) -> list[str]:
    """A row for each workload: how many times as long each other framework takes; the fastest of them is bold."""
    names = [n for n in dict.fromkeys(r["framework"] for r in records if r.get("us")) if n != OURS]
    rows = []
    for part in workloads.NAMES:
        mine = {r["framework"]: r for r in records if r["workload"] == part and r.get("us") and r["status"] == "ok"}
        if OURS not in mine:
            continue
        ours, first = statistics.median(mine[OURS]["us"]), fastest(mine.values())
        cells = [part, f"{ours:,.0f}"]
        for name in names:
            text = ratio(median(mine[name]["us"]), ours) if name in mine else "-"
            cells.append(f"**{text}**" if first and name == first[0] else text)
        goal = workloads.find(part).GOAL
        reached = "" if first is None else "yes" if first[1] / ours >= goal else "no"
        rows.append([*cells, f"{goal:g}", reached])
    text = "Time of a step as a multiple of Cenote's (above 1: Cenote is faster); the fastest of the others is bold."
    return [text, "", *table(["training", "Cenote, us", *names, "goal", "reached"], rows)]


def predicting(records: list[Record]) -> list[str]:
    """A row for each workload and number of rows: the fastest way of each family, as a multiple of our fastest."""
    families = {"PyTorch": "torch", "Keras": "keras-", "onnxruntime": "onnxruntime"}
    rows = []
    for part in workloads.NAMES:
        mine = [r for r in records if r["workload"] == part]
        for size in map(str, workloads.find(part).INFER):
            ours = best(mine, OURS, size)
            if ours is None:
                continue
            cells = [f"{part}, {size} rows", f"{ours:,.1f}"]
            for start in families.values():
                found = [best(mine, r["framework"], size) for r in mine if r["framework"].startswith(start)]
                cells.append(ratio(min((f for f in found if f is not None), default=None), ours))
            rows.append(cells)
    text = "Time of a prediction, numpy in and numpy out, by the fastest way of each, as a multiple of Cenote's."
    return [text, "", *table(["prediction", "Cenote, us", *families], rows)] if rows else []


def draw(records: list[Record], path: Path) -> None:
    """The summary as a picture: a line for each workload, a point for each framework, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "cenote"
    parts = [p for p in workloads.NAMES if any(r["workload"] == p and r["framework"] == OURS and r.get("us") for r in records)]
    names = [n for n in dict.fromkeys(r["framework"] for r in records if r.get("us")) if n != OURS]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(parts) + 1.3), layout="constrained")
    axes.axvline(1, color="black", linewidth=1)
    for place, name in enumerate(names):
        points = []
        for y, part in enumerate(parts):
            us = {r["framework"]: statistics.median(r["us"]) for r in records if r["workload"] == part and r.get("us")}
            if name in us:
                points.append((us[name] / us[OURS], y))
        if points:
            axes.plot(*zip(*points, strict=True), "osD^vPX"[place % 7], label=name, alpha=0.8)
    axes.set_yticks(range(len(parts)), parts)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time of a training step, as a multiple of Cenote's")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


# -- small things ----------------------------------------------------------------------------------------------------------


def title(record: Record) -> str:
    return f"{record['framework']} {record.get('version', '')}".strip()


def ratio(theirs: float | None, ours: float | None) -> str:
    """How many times as long, with as many digits as mean something.

    >>> ratio(3.0, 2.0), ratio(1000.0, 3.0), ratio(None, 1.0)
    ('1.50', '333', '-')
    """
    if theirs is None or not ours:
        return "-"
    value = theirs / ours
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(names: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(names) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in [names, rule, *rows]]
