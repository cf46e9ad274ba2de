"""The default of every task on real data over several seeds, beside our baselines and scikit-learn, on the same parts.

    CENOTE_DATA=../shared/data python bench/tasks.py                     # all sets, three seeds
    CENOTE_DATA=../shared/data python bench/tasks.py --sets iris titanic --seeds 5
    CENOTE_DATA=../shared/data python bench/tasks.py --write             # and bench/results/<date>-tasks.md
    python bench/tasks.py --sets iris --redo cenote                      # once more, after a change of ours

Each set and seed runs in a process of its own, from reading to the score: what `cenote train` does with the command in the
table. The seed decides the parts, too, where the source does not. Then scikit-learn learns from the same training part (with
``--all-rows`` from the validation part as well, which our task needs to stop by) and is measured on the same test part with
the same score. Tables are given to it as our preparation makes them; texts as TF-IDF of its own; pictures as pixels, recordings
as mel bands in eight stretches of time, series as the values before. Of its models the best on the test parts stands in the
table, which is to its advantage.

Every result is a line of bench/results/<date>-tasks.jsonl as soon as it is there; a call made again does what is missing.
``--limit-minutes`` ends a process that takes longer; what it has written stays, and it is not begun again before ``--redo``.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import workers

HERE = Path(__file__).resolve().parent
OURS = "cenote"
ROWS = 20_000  # of pictures that scikit-learn learns from; it would take hours with more
LAGS = 48  # values before a step that its gradient boosting sees of a series
STRETCHES = 8  # of time, that the mel bands of a recording are averaged over
OVER = "over the limit"
FEW = 5000


@dataclass(frozen=True)
class Set:
    """A data set: where it lies below CENOTE_DATA, and what a user has to say of it."""

    path: str
    target: str | int | None = None
    task: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    builtin: bool = False

    def command(self) -> str:
        words = ["cenote train", self.path if self.builtin else Path(self.path).name]
        words += [f"--task {self.task}"] if self.task else []
        words += [] if self.target is None else [f"--target {self.target}"]
        return " ".join([*words, *(f"--{name} {value}" for name, value in self.options.items())])


SETS = {
    "mnist": Set("mnist", builtin=True),
    "fashion_mnist": Set("fashion_mnist", builtin=True),
    "cifar10": Set("cifar10", builtin=True),
    "ants and bees": Set("hymenoptera-subset"),
    "spoken digits": Set("free-spoken-digit/recordings.zip"),
    "MR": Set("mr-sentence-polarity"),
    "AG News": Set("ag-news"),
    "TREC": Set("trec-questions"),
    "ChnSentiCorp": Set("chnsenticorp"),
    "TNEWS": Set("tnews-zh"),
    "Multi30k": Set("multi30k-en-de"),
    "Tatoeba": Set("tatoeba-en-zh"),
    "Tiny Shakespeare": Set("tiny-shakespeare/input.txt"),
    "Titanic": Set("tabular/titanic.csv", "Survived"),
    "wine": Set("tabular/winequality-red.csv", -1),
    "housing": Set("tabular/california-housing.csv.gz", "median_house_value"),
    "breast cancer": Set("tabular/breast-cancer-wdbc.csv", "target"),
    "iris": Set("tabular/iris.csv", -1),
    "Pima": Set("tabular/pima-indians-diabetes.csv", -1),
    "ETTh1": Set("time-series/ETTh1.csv.gz", "OT", "forecast", {"horizon": 24}),
    "airline": Set("time-series/airline-passengers.csv", "Passengers"),
    "temperatures": Set("time-series/daily-min-temperatures.csv", "Temp"),
}


# -- one set with one seed, in a process of its own ------------------------------------------------------------------------


def work(name: str, seed: int, skip: list[str], all_rows: bool) -> None:
    """Print a JSON line for each result that is not in ``skip``."""
    import warnings

    warnings.simplefilter("ignore", FutureWarning)
    began = time.perf_counter()
    chosen = SETS[name]
    job = _job(chosen, seed)

    def tell(who: str, **values: Any) -> None:
        print(json.dumps({"set": name, "seed": seed, "who": who, **values}), flush=True)

    if OURS not in skip:
        job.fit(verbose=0)
        trained = job.finish()
        seconds = time.perf_counter() - began - job.seconds.get("baselines", 0)
        main = trained.scores.main
        values = {"value": main.value, "low": main.low, "high": main.high, "score": main.name, "better": main.better}
        values |= {"percent": main.percent, "seconds": seconds, "parts": job.seconds, "counts": job.parts.counts()}
        others = [s.record() for s in trained.scores.values[1:]]
        values |= {"others": others, "baselines": [b.record() for b in trained.baselines], "memory": _memory()}
        tell(OURS, **values, task=job.task.name, model=job.choice.name, parameters=job.model.count_params())
    for who, score in _peers(job, all_rows):
        if who not in skip:
            began = time.perf_counter()
            tell(who, value=score(), seconds=time.perf_counter() - began)
    tell("done")


def _job(chosen: Set, seed: int) -> Any:
    from cenote import tasks

    source: Any = chosen.path if chosen.builtin else Path(os.environ["CENOTE_DATA"]) / chosen.path
    if chosen.task is None:
        cls, _ = tasks.guess(source, chosen.target, **chosen.options)
    else:
        cls = tasks.find(chosen.task)
    return cls(target=chosen.target, seed=seed, **chosen.options).plan(source)


def _memory() -> int:
    """Bytes that the process took at most."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# -- scikit-learn on the same parts ----------------------------------------------------------------------------------------


def _peers(job: Any, all_rows: bool) -> Iterator[tuple[str, Callable[[], float]]]:
    """Names of scikit-learn's models for the task, and functions that give their score on the test part."""
    kind = {
        "tabular-classification": _tables, "tabular-regression": _tables, "image-classification": _pictures,
        "speech-classification": _recordings, "text-classification": _texts, "forecast": _series,
    }.get(job.task.name)  # fmt: skip
    if kind is None or getattr(job.task, "multi_label", False):
        return
    train = [job.parts.train, *([job.parts.validation] if all_rows and len(job.parts.validation) else [])]
    yield from kind(job, train)


def _classifiers(job: Any, x: Any, x_test: Any, y: np.ndarray) -> Iterator[tuple[str, Callable[[], float]]]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = job.task.answers(job.parts.test.targets)

    def accuracy(model: Any) -> float:
        return float((model.fit(x(), y).predict(x_test()) == truth).mean())

    few = len(y) < FEW  # the strength of the penalty is chosen by cross-validation only where that takes seconds
    folds = int(np.clip(np.bincount(y)[np.bincount(y) > 0].min(), 2, 3))
    chosen: Any = {"Cs": [0.01, 0.1, 1.0, 10.0], "cv": folds, "scoring": "accuracy"}
    plain = LogisticRegressionCV(max_iter=300, **chosen) if few else LogisticRegression(C=0.01, max_iter=200)
    yield "logistic regression", lambda: accuracy(make_pipeline(StandardScaler(), plain))
    yield "gradient boosting", lambda: accuracy(HistGradientBoostingClassifier(random_state=job.task.seed))


def _tables(job: Any, train: list[Any]) -> Iterator[tuple[str, Callable[[], float]]]:
    from cenote.tasks.tables import one_hot

    z, *parts = (one_hot(job.task.preparation, part.inputs) for part in (job.parts.test, *train))
    if z is None or any(part is None for part in parts):
        return  # hardly anything but embedded categories
    x = np.concatenate(parts)  # type: ignore[arg-type]
    y = np.concatenate([job.task.answers(part.targets) for part in train])
    if job.task.name == "tabular-classification":
        yield from _classifiers(job, lambda: x, lambda: z, y)
        return
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def score(model: Any) -> float:
        said = model.fit(x, y).predict(z)
        return job.task.score(said, job.parts.test).main.value

    yield "ridge regression", lambda: score(make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))))
    boosting = HistGradientBoostingRegressor(random_state=job.task.seed)
    yield "gradient boosting", lambda: score(MultiOutputRegressor(boosting))


def _pictures(job: Any, train: list[Any]) -> Iterator[tuple[str, Callable[[], float]]]:
    from cenote.tasks.linear import shrunk

    def pixels(part: Any) -> np.ndarray:
        x = job.task.preparation(part.inputs)
        return shrunk(x, 28 if x.shape[3] == 1 else 16).reshape(len(x), -1).astype(np.float32) / 255

    def some(part: Any) -> Any:
        rows = np.random.RandomState(0).permutation(len(part))
        return part.take(rows[:ROWS])

    if len(job.parts.train) > ROWS and job.task.seed:
        return  # minutes each, and the same test part: the first seed says it
    train = [some(part) for part in train]
    y = np.concatenate([job.task.answers(part.targets) for part in train])
    yield from _classifiers(job, lambda: np.concatenate([pixels(p) for p in train]), lambda: pixels(job.parts.test), y)


def _recordings(job: Any, train: list[Any]) -> Iterator[tuple[str, Callable[[], float]]]:
    from cenote.tasks.speech import mel_layers

    def bands(part: Any) -> np.ndarray:
        x = job.task.preparation(part.inputs)
        front, _, _ = mel_layers(x, job.task.preparation.rate)
        shown = np.concatenate([np.asarray(front[0](x[i : i + 256])) for i in range(0, len(x), 256)])
        return np.concatenate([piece.mean(2) for piece in np.array_split(shown, STRETCHES, axis=2)], axis=1)

    y = np.concatenate([job.task.answers(part.targets) for part in train])
    yield from _classifiers(job, lambda: np.concatenate([bands(p) for p in train]), lambda: bands(job.parts.test), y)


def _texts(job: Any, train: list[Any]) -> Iterator[tuple[str, Callable[[], float]]]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    texts, test = [t for part in train for t in part.inputs], list(job.parts.test.inputs)
    y = np.concatenate([job.task.answers(part.targets) for part in train])
    truth = job.task.answers(job.parts.test.targets)
    ways = {"words": {"ngram_range": (1, 2)}, "characters": {"analyzer": "char_wb", "ngram_range": (1, 5)}}
    ideographs = sum("\u4e00" <= c <= "\u9fff" for c in "".join(texts[:500])) > 0.3 * sum(map(len, texts[:500]))
    ways = {"characters": {"analyzer": "char", "ngram_range": (1, 3)}} if ideographs else ways

    def accuracy(options: dict[str, Any], model: Any) -> float:
        vectors = TfidfVectorizer(sublinear_tf=True, min_df=2, **options).fit(texts)
        model.fit(vectors.transform(texts), y)
        return float((model.predict(vectors.transform(test)) == truth).mean())

    for way, options in ways.items():
        yield f"SVM on TF-IDF of {way}", lambda options=options: accuracy(options, LinearSVC(C=0.5))
        if len(texts) > 2 * FEW or way == "characters":
            continue  # takes long, and is hardly ever better than the machine
        linear = LogisticRegression(C=10, max_iter=200)
        yield f"logistic regression on TF-IDF of {way}", lambda options=options, linear=linear: accuracy(options, linear)


def _series(job: Any, train: list[Any]) -> Iterator[tuple[str, Callable[[], float]]]:
    """Models of the differences from the last value, on the values before, of the targets (all variables for the ridge)."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    task, targets = job.task, len(job.task.answers.names)

    def past(part: Any) -> np.ndarray:
        x = task.preparation(part.inputs)
        return np.asarray(x["past"] if isinstance(x, dict) else x, np.float64)

    x, z = np.concatenate([past(part) for part in train]), past(job.parts.test)
    y = np.concatenate([task.answers(part.targets) for part in train]).astype(np.float64)

    def score(model: Any, features: Callable[[np.ndarray], np.ndarray]) -> float:
        flat = (y - x[:, -1:, :targets]).reshape(len(y), -1)
        said = model.fit(features(x), flat).predict(features(z)).reshape(len(z), -1, targets) + z[:, -1:, :targets]
        error = np.abs(task.answers.back(said) - np.asarray(job.parts.test.targets, np.float64))
        return float((error / task.answers.naive).mean() if targets > 1 else error.mean())

    def every(a: np.ndarray) -> np.ndarray:
        return np.concatenate([a[:, -1], (a - a[:, -1:]).reshape(len(a), -1)], axis=1)

    def own(a: np.ndarray) -> np.ndarray:
        return every(a[:, -LAGS:, :targets])

    wide = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
    yield "ridge regression", lambda: score(wide, lambda a: every(a[..., :targets]))
    if x.shape[2] > targets:
        yield "ridge regression on all variables", lambda: score(wide, every)
    boosting = MultiOutputRegressor(HistGradientBoostingRegressor(loss="absolute_error", random_state=task.seed))
    yield "gradient boosting", lambda: score(boosting, own)


# -- the processes one after the other -------------------------------------------------------------------------------------


def run(names: list[str], seeds: int, lines: Path, minutes: float, all_rows: bool) -> None:
    for name in names:
        for seed in range(seeds):
            had = {r["who"] for r in _records(lines) if r["set"] == name and r["seed"] == seed}
            if "done" in had or OVER in had:
                continue
            print(f"{name}, seed {seed}", flush=True)
            _run_one(name, seed, sorted(had), lines, minutes, all_rows)


def _run_one(name: str, seed: int, had: list[str], lines: Path, minutes: float, all_rows: bool) -> None:
    words = [sys.executable, str(Path(__file__).resolve()), "--work", name, "--seed", str(seed)]
    words += ["--skip", *had] if had else []
    words += ["--all-rows"] if all_rows else []
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(60 * minutes, end)
    timer.start()
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(child.stderr or ()))
    reader.start()
    try:
        for line in child.stdout or ():
            if line.startswith("{"):
                record = json.loads(line)
                _append(lines, record)
                if "value" in record:
                    print(f"  {record['who']}: {record['value']:.4g} in {record['seconds']:.1f} s", flush=True)
        code = child.wait()
    except BaseException:
        child.kill()
        raise
    finally:
        timer.cancel()
    reader.join()
    if late.is_set():
        _append(lines, {"set": name, "seed": seed, "who": OVER, "minutes": minutes})
        print(f"  {OVER} of {minutes:g} minutes", flush=True)
    elif code:
        print("  failed: " + "".join(said[-12:]), flush=True)


def _append(lines: Path, record: dict[str, Any]) -> None:
    lines.parent.mkdir(parents=True, exist_ok=True)
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _records(lines: Path) -> list[dict[str, Any]]:
    """The results so far; of several for the same the last one, and a line that was not written to its end is passed over."""
    found: dict[tuple, dict[str, Any]] = {}
    for line in lines.read_text("utf-8").splitlines() if lines.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[record["set"], record["seed"], record["who"]] = record
    return list(found.values())


def forget(lines: Path, names: list[str], who: str) -> None:
    """Take back the results of one (``cenote`` or a model of scikit-learn) for these sets, so that they are made again."""
    gone = (who, "done", OVER)
    kept = [r for r in _records(lines) if r["set"] not in names or r["who"] not in gone]
    beside = lines.with_suffix(".part")
    beside.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept), "utf-8")
    beside.replace(lines)


# -- the table -------------------------------------------------------------------------------------------------------------


def table(records: list[dict[str, Any]], names: list[str], all_rows: bool) -> str:
    """The results as Markdown."""
    head = "| data | command | score | Cenote | best baseline | scikit-learn's best | | s | rows |"
    out = [head, "| --- | --- | --- | ---: | --- | --- | --- | ---: | ---: |"]
    for name in names:
        mine = [r for r in records if r["set"] == name]
        ours = [r for r in mine if r["who"] == OURS]
        late = any(r["who"] == OVER for r in mine)
        if not ours:
            if mine:
                out.append(f"| {name} | `{SETS[name].command()}` | | {OVER if late else 'failed'} | | | | | |")
            continue
        first, sign = ours[0], 1 if ours[0]["better"] == "higher" else -1
        write = _writer(first)
        value = np.array([r["value"] for r in ours])
        base = _best({b["name"]: [x["value"] for r in ours for x in r["baselines"] if x["name"] == b["name"]] for b in
                      first["baselines"]}, sign)  # fmt: skip
        seeds = {r["seed"] for r in ours}
        peers: dict[str, list[float]] = {}
        for r in mine:
            if r["who"] not in (OURS, "done", OVER) and r["seed"] in seeds:
                peers.setdefault(r["who"], []).append(r["value"])
        most = max(map(len, peers.values()), default=0)
        peer = _best({who: found for who, found in peers.items() if len(found) == most}, sign)
        cells = [name, f"`{SETS[name].command()}`", first["score"] + (" (lower is better)" if sign < 0 else "")]
        cells += [_spread(value, write)]
        cells += ["" if base is None else f"{_spread(base[1], write)} {base[0]}"]
        cells += ["none" if peer is None else f"{_spread(peer[1], write)} {peer[0]}"]
        cells += ["" if peer is None else _verdict(ours, value, peer[1], sign)]
        cells += [f"{np.median([r['seconds'] for r in ours]):.0f}", f"{sum(first['counts'].values()):,}"]
        out.append("| " + " | ".join(cells) + " |")
    seeds = max((sum(r["who"] == OURS and r["set"] == n for r in records) for n in names), default=0)
    rows = "the training and the validation part" if all_rows else "the training part"
    return "\n".join(
        [
            "# The default of every task on real data",
            "",
            f"{date.today().isoformat()}, {workers.machine()}, {_versions()}; mean ± standard error, {seeds} seeds.",
            "",
            *out,
            "",
            "A figure without ± is of one seed. The seed draws the parts, too, where the source does not say them. The best",
            f"baseline is the best of those that each run reports. scikit-learn learned from {rows} and was measured",
            "on the same test part; the best of its models on the test parts is shown (logistic or ridge regression, histogram",
            "gradient boosting; for texts a linear SVM and logistic regression on TF-IDF; where there are more than",
            f"{ROWS:,} pictures, so many of them, 16 to 28 pixels a side, with the first seed). Better, worse: by more than",
            "one standard error of our score on one test part (its 95 % interval through 3.92). The seconds are those of the",
            "middle process, from reading to the score, compiling included, without importing, the baselines and scikit-learn.",
            "",
        ]
    )


def _best(found: dict[str, list[float]], sign: int) -> tuple[str, np.ndarray] | None:
    known = {name: np.array(values) for name, values in found.items() if values}
    return max(known.items(), key=lambda item: sign * item[1].mean()) if known else None


def _writer(record: dict[str, Any]) -> Callable[[float], str]:
    return (lambda v: f"{100 * v:.1f}") if record["percent"] else (lambda v: f"{v:.4g}")


def _spread(values: np.ndarray, write: Callable[[float], str]) -> str:
    mean = write(float(values.mean()))
    error = write(float(f"{values.std(ddof=1) / len(values) ** 0.5:.2g}")) if len(values) > 1 else ""
    return f"{mean} ± {error}" if error else mean


def _verdict(ours: list[dict[str, Any]], value: np.ndarray, peer: np.ndarray, sign: int) -> str:
    error = float(np.nanmean([(r["high"] - r["low"]) / 3.92 for r in ours]))
    ahead = sign * float(value.mean() - peer.mean())
    return "better" if ahead > error else "worse" if ahead < -error else "as good"


def _versions() -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("jax", "scikit-learn"))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), metavar="SET", help=", ".join(SETS))
    parser.add_argument("--seeds", type=int, default=3, help="0 to N - 1 (default: 3)")
    parser.add_argument("--write", action="store_true", help="write the table of all that is there to bench/results")
    parser.add_argument("--limit-minutes", type=float, default=30.0, help="of one process (default: 30)")
    parser.add_argument("--all-rows", action="store_true", help="scikit-learn learns from the validation part, too")
    parser.add_argument(
        "--redo", metavar="WHO", help="forget results of cenote, or of a model of scikit-learn, and make them again"
    )
    parser.add_argument("--lines", type=Path, help="the file of results (default: bench/results/<date>-tasks.jsonl)")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--skip", nargs="*", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.seed, args.skip, args.all_rows)
        return
    if "CENOTE_DATA" not in os.environ:
        parser.error("CENOTE_DATA names no folder of data sets")
    lines = args.lines or HERE / "results" / f"{date.today().isoformat()}-tasks.jsonl"
    if args.redo:
        forget(lines, args.sets, args.redo)
    run(args.sets, args.seeds, lines, args.limit_minutes, args.all_rows)
    known = _records(lines)
    text = table(known, list(SETS) if args.write else args.sets, args.all_rows)
    print("\n" + text)
    if args.write:
        lines.with_suffix(".md").write_text(text, "utf-8")
        print(f"written: {lines.with_suffix('.md')}")


if __name__ == "__main__":
    main()
