"""What a run has recorded: Keras's ``history.history``; records with step, examples, rate and seconds; pictures of them."""

from __future__ import annotations

import html
import io
import json
import math
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from ..figures import FAINT, GREY, INK, figure

MOST_CHUNKS = 2000  # finer records are thinned to this number

_UP = (
    *(
        "accuracy",
        "acc",
        "auc",
        "precision",
        "recall",
        "sensitivity",
        "specificity",
        "f1",
        "score",
        "r2",
        "iou",
        "io_u",
    ),
    *(
        "dice",
        "similarity",
        "correlation",
        "positives_rate",
        "true_positives",
        "true_negatives",
        "psnr",
        "ssim",
        "bleu",
    ),
)
_DOWN = (
    *(
        "loss",
        "error",
        "mse",
        "mae",
        "rmse",
        "mape",
        "msle",
        "entropy",
        "crossentropy",
        "divergence",
        "hinge",
        "poisson",
    ),
    *(
        "logcosh",
        "log_cosh",
        "perplexity",
        "deviance",
        "huber",
        "false_positives",
        "false_negatives",
        "distance",
        "brier_score",
    ),
)
_FIRST = ("epoch", "step", "examples", "learning_rate", "seconds")


def direction(name: str, model: Any = None) -> str | None:
    """Whether less ("min") or more ("max") of a quantity is better, by the model's metric or by the name; None: unknown.

    >>> direction("val_loss"), direction("val_digit_accuracy"), direction("auc_1"), direction("temperature")
    ('min', 'max', 'max', None)
    """
    plain = name.removeprefix("val_").lower()
    for metric in getattr(model, "metrics", None) or ():
        if getattr(metric, "name", None) == name.removeprefix("val_"):
            found = {"up": "max", "max": "max", "down": "min", "min": "min"}.get(getattr(metric, "direction", None) or "")
            if found:
                return found
    plain = re.sub(r"_\d+$", "", plain)
    for goal, endings in (("min", _DOWN), ("max", _UP)):
        if any(plain == e or plain.endswith(f"_{e}") for e in endings):
            return goal
    return None


class History:
    """The record of a run.

    Attributes:
        history: dict of lists, one number for each epoch that had it, exactly as Keras's ``history.history``.
        epoch: the numbers of those epochs, from 0.
        records: one dict for each epoch: epoch (from 0), step (optimizer updates so far), examples (seen so far),
            learning_rate (of the epoch), seconds (since the run began, resumed time included), and the losses and metrics.
        chunks: finer records, some ten a second, thinned out evenly to at most 2000; their losses and metrics are averages
            since the beginning of their epoch.

    Training numbers are averages over an epoch, of weights that move, with dropout on; ``val_`` numbers are of the weights
    at its end. So a validation loss below the training loss is nothing strange.

    >>> records = [{"epoch": 0, "step": 10, "loss": 0.5}, {"epoch": 1, "step": 20, "loss": 0.25}]
    >>> history = History.from_dict({"records": records})
    >>> history.history["loss"], history.best("loss")["epoch"]
    ([0.5, 0.25], 1)
    """

    run: Any = None
    model: Any = None
    params: dict[str, Any] | None = None
    watches_model = False
    decides = False

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.records: list[dict[str, Any]] = []
        self.chunks: list[dict[str, Any]] = []
        self._stride, self._heard = 1, 0
        self._taken: set[str] = set()  # names that the last record has from its logs
        self._began = time.perf_counter()

    # -- recording ---------------------------------------------------------------------------------------------------------

    def add(self, run: Any, logs: Mapping[str, Any], **known: Any) -> None:
        """Record the end of an epoch; ``known`` are a record's numbers that the run itself need not be asked for."""
        self.epoch.append(int(run.epoch))
        self.records.append(self._record(run, **known))
        self._taken = set()
        self.amend(logs)

    def add_several(self, run: Any, columns: Mapping[str, list], steps: list[int], examples: list[int], rates: list) -> None:
        """Record the ends of epochs that ran in one program: ``columns`` of their logs by name, and of a record's numbers."""
        columns = {k: v if isinstance(v[0], float) else [_plain(each) for each in v] for k, v in columns.items()}
        first, seconds = int(run.epoch), round(run.seconds, 6)
        self.epoch.extend(range(first, first + len(steps)))
        for i, (step, seen, rate, *values) in enumerate(zip(steps, examples, rates, *columns.values(), strict=True)):
            known = {"epoch": first + i, "step": step, "examples": seen, "learning_rate": rate, "seconds": seconds}
            self.records.append(known | dict(zip(columns, values, strict=True)))
        for name, values in columns.items():
            self.history.setdefault(name, []).extend(values)
        self._taken = set(columns)

    def amend(self, logs: Mapping[str, Any]) -> None:
        """Take into the last record what its logs have got since, from callbacks at the epoch's end."""
        for name, value in logs.items():
            if name not in self._taken:
                self._taken.add(name)
                self.history.setdefault(name, []).append(_plain(value))
                self.records[-1][name] = _plain(value)

    def note(self, run: Any, logs: Mapping[str, Any]) -> None:
        """Record the end of a chunk, unless it is thinned out."""
        self._heard += 1
        if self._heard % self._stride:
            return
        self.chunks.append({**self._record(run), **{k: _plain(v) for k, v in logs.items()}})
        if len(self.chunks) > MOST_CHUNKS:
            self.chunks = self.chunks[1::2]
            self._stride *= 2

    def _record(self, run: Any, step: int | None = None, learning_rate: float | None = None) -> dict[str, Any]:
        seconds = getattr(run, "seconds", None)
        return {
            "epoch": int(run.epoch),
            "step": int(run.state.step) if step is None else step,
            "examples": int(run.examples),
            "learning_rate": float(run.learning_rate) if learning_rate is None else learning_rate,
            "seconds": round(time.perf_counter() - self._began if seconds is None else float(seconds), 6),
        }

    # -- as a callback: fit(callbacks=[History()]) works as in Keras ------------------------------------------------------

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Any = None) -> None:
        self._copy(History())

    def on_chunk_end(self, step: int, logs: Any = None) -> None:
        self.note(self.run, logs or {})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        own = self.run.history.records[-1:]  # the run may be some epochs ahead of what it tells; its own record is not
        self.add(self.run, logs or {}, **{k: own[0][k] for k in ("step", "learning_rate") if own})

    def memory(self) -> dict[str, Any]:
        return {"record": json.dumps(self.to_dict())}

    def recall(self, memory: dict[str, Any]) -> None:
        self._copy(History.from_dict(json.loads(memory["record"])))

    def _copy(self, other: History) -> None:
        for name in ("history", "epoch", "records", "chunks", "_stride", "_heard", "_taken", "_began"):
            setattr(self, name, getattr(other, name))

    # -- reading -----------------------------------------------------------------------------------------------------------

    def best(self, name: str, mode: str = "auto") -> dict[str, Any]:
        """The record of the epoch in which a quantity was best.

        Raises: KeyError if no epoch has it, ValueError where "auto" cannot tell whether more or less is better.
        """
        goal = direction(name, self.model) if mode == "auto" else mode
        found = [r for r in self.records if _finite(r.get(name))]
        if not found:
            raise KeyError(f"no epoch has a finite {name!r}; there are: {', '.join(self.history) or 'no records yet'}")
        if goal not in ("min", "max"):
            raise ValueError(f"is more or less of {name!r} better? give mode='max' or mode='min'")
        return (min if goal == "min" else max)(found, key=lambda r: r[name])

    def frame(self) -> Any:
        """The records as a pandas DataFrame, one row for each epoch.

        Raises: ImportError, naming the extra, without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('history.frame() needs pandas: pip install "cenote[tabular]"') from error
        return pandas.DataFrame(self.records, columns=_columns(self.records))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, strict JSON: what is not finite becomes "nan", "inf" or "-inf"."""
        return {
            "history": {k: [_encode(v) for v in values] for k, values in self.history.items()},
            "epoch": list(self.epoch),
            "records": [{k: _encode(v) for k, v in r.items()} for r in self.records],
            "chunks": [{k: _encode(v) for k, v in r.items()} for r in self.chunks],
            "stride": self._stride,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """The history that `to_dict` wrote; from records alone, too."""
        self = cls()
        self.records = [{k: _decode(v) for k, v in r.items()} for r in data.get("records", ())]
        self.chunks = [{k: _decode(v) for k, v in r.items()} for r in data.get("chunks", ())]
        self.epoch = [int(e) for e in data.get("epoch", [r["epoch"] for r in self.records])]
        self.history = {k: [_decode(v) for v in values] for k, values in data.get("history", {}).items()}
        if "history" not in data:
            for record in self.records:
                for name in record.keys() - set(_FIRST):
                    self.history.setdefault(name, []).append(record[name])
        self._stride = int(data.get("stride", 1))
        return self

    def __repr__(self) -> str:
        if not self.records:
            return "History(nothing yet)"
        last = ", ".join(f"{k} {number(v)}" for k, v in self.records[-1].items() if k not in _FIRST and _is_number(v))
        return f"History({_count(len(self.records), 'epoch')}: {last})"

    # -- pictures ----------------------------------------------------------------------------------------------------------

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """The curves as a matplotlib Figure, one panel for each quantity, the best epoch marked; written to ``path`` if given.

        Raises: ValueError if nothing is recorded yet.
        """
        drawn = _draw(self)
        if path is not None:
            drawn.savefig(path, dpi=150)
        return drawn

    def _repr_html_(self) -> str:
        """A small table and the curves, for notebooks."""
        if not self.records:
            return "<p>History: nothing yet</p>"
        import matplotlib

        picture = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            self.plot().savefig(picture, format="svg")
        svg = picture.getvalue()
        return self._table() + svg[svg.index("<svg") :]

    def _table(self) -> str:
        rows = []
        for name in _quantities(self):
            train, held = (_last(self.records, n) for n in (name, f"val_{name}"))
            best = _best(self, name)
            mark = "" if best is None else f"{number(best[1])} in epoch {best[0]}"
            cells = (html.escape(name), *("" if v is None else number(v) for v in (train, held)), mark)
            rows.append("<tr>" + "".join(f"<td style='text-align:left'>{c}</td>" for c in cells) + "</tr>")
        head = "".join(f"<th style='text-align:left'>{h}</th>" for h in ("", "training", "validation", "best"))
        last = self.records[-1]
        facts = [
            _count(len(self.records), "epoch"),
            _count(last.get("step", 0), "step"),
            _count(last.get("examples", 0), "example"),
        ]
        note = "Training numbers are averages over the epoch, with dropout on; validation is at its end."
        return (
            f"<p>{', '.join(facts)} in {last.get('seconds', 0.0):,.1f} s</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table><p><small>{note}</small></p>"
        )


def number(value: float) -> str:
    """A loss or metric as people read it: four decimals, or a power of ten where they would say nothing.

    >>> number(0.123456), number(1.5e-5), number(0.0), number(123456.0), number(float("nan"))
    ('0.1235', '1.5000e-05', '0.0000', '1.235e+05', 'nan')
    """
    size = abs(value)
    if not math.isfinite(value) or value == 0 or 1e-3 <= size < 1e4:
        return f"{value:.4f}"
    return f"{value:.4e}" if size < 1e-3 else f"{value:.4g}"


# -- the picture -----------------------------------------------------------------------------------------------------------

_TRAINING, _VALIDATION = "#5b8db8", "#e07a3f"


def _draw(history: History) -> Any:
    """Panels side by side, at most three in a row. A Figure of its own: pyplot's global state is not touched."""
    if not history.records:
        raise ValueError("history.plot() has nothing to show yet: no epoch has ended")

    names = _quantities(history)
    rates = [r.get("learning_rate", math.nan) for r in history.records]
    if len({f"{r:.6g}" for r in rates if _finite(r)}) > 1 and "learning_rate" not in names:
        names.append("learning_rate")
    columns = min(len(names), 3) or 1
    rows = max(1, -(-len(names) // columns))
    drawn = figure(4.6 * columns + 0.2, 3.3 * rows + 0.1, w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.05)
    for i, name in enumerate(names):
        _panel(drawn.add_subplot(rows, columns, i + 1), history, name)
    return drawn


def _panel(axes: Any, history: History, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    curves = [(n, *_curve(history.records, n)) for n in (name, f"val_{name}")]
    curves = [(n, x, y) for n, x, y in curves if x]
    for n, x, y in curves:
        held = n.startswith("val_")
        color = _VALIDATION if held else _TRAINING
        marks = {"marker": "o", "markersize": 5 if len(x) < 8 else 3.5} if len(x) <= 40 else {}
        width = 1.8 if len(x) <= 200 else 1.1
        label = "validation" if held else "training"
        axes.plot(x, y, color=color, linewidth=width, label=label, zorder=3 + held, solid_joinstyle="round", **marks)
    if len(history.records) <= 3 and name != "learning_rate":
        x, y = _fine(history, name)
        axes.plot(x, y, color=_TRAINING, linewidth=1, alpha=0.55, zorder=2)
    values = [v for _, _, y in curves for v in y]
    goal = direction(name, history.model)
    if values and min(values) > 0 and max(values) > 100 * min(values) and (goal == "min" or name == "learning_rate"):
        axes.set_yscale("log")
    best = _best(history, name)
    subtitle = ""
    if best is not None and len(history.records) > 1:
        epoch, value, label = best
        color = _VALIDATION if label == "validation" else _TRAINING
        axes.axvline(epoch, color=color, linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.8, zorder=1)
        axes.plot([epoch], [value], "o", markersize=8, color=color, markeredgecolor="white", markeredgewidth=1.6, zorder=6)
        subtitle = f"best {label + ' ' if len(curves) > 1 else ''}{number(value)} in epoch {epoch}"
    lost = [r["epoch"] + 1 for r in history.records if any(_is_number(v) and not _finite(v) for v in _both(r, name))]
    if lost:
        subtitle = f"not a number from epoch {lost[0]}" + (f"; {subtitle}" if subtitle else "")
    _dress(axes, name.replace("_", " "), subtitle, several=len(curves) > 1)
    last = history.records[-1]["epoch"] + 1
    first = history.records[0]["epoch"] + (0 if _fine_shown(history, name) else 1)
    space = 0.5 if last == first else 0.03 * (last - first)
    axes.set_xlim(first - space, last + space)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def _dress(axes: Any, title: str, subtitle: str, *, several: bool) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=20)
    axes.annotate(subtitle, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=8.5, color=GREY)
    if several:
        legend = axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.055, 1),
            ncols=2,
            frameon=False,
            fontsize=9,
            handlelength=1.2,
            columnspacing=1.2,
            borderaxespad=1.75,
        )
        for text in legend.get_texts():
            text.set_color(INK)
    axes.set_xlabel("epoch", fontsize=9, color=GREY)
    axes.tick_params(labelsize=9, colors=GREY, length=0)
    axes.tick_params(which="minor", labelsize=7.5, length=0)
    axes.grid(True, axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#cbd2d9")
    axes.margins(y=0.08)


def _quantities(history: History) -> list[str]:
    """What has a panel: the loss first, then the metrics in their order."""
    names = dict.fromkeys(
        k.removeprefix("val_") for r in history.records for k, v in r.items() if k not in _FIRST and _is_number(v)
    )
    return sorted(names, key=lambda n: n != "loss")


def _curve(records: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    points = [(r["epoch"] + 1, r[name]) for r in records if _finite(r.get(name))]
    return [x for x, _ in points], [y for _, y in points]


def _fine_shown(history: History, name: str) -> bool:
    return len(history.records) <= 3 and name != "learning_rate" and len(_fine(history, name)[0]) > 1


def _fine(history: History, name: str) -> tuple[list[float], list[float]]:
    """The chunks of a short run against the fraction of the epoch that is done."""
    ends = {r["epoch"]: r.get("examples", 0) for r in history.records}
    points, before = [], -1
    for chunk in history.chunks:
        end = ends.get(chunk["epoch"])
        begin = ends.get(chunk["epoch"] - 1, 0)
        if end is not None and end > begin and _finite(chunk.get(name)):
            if points and chunk["epoch"] > before:
                points.append((math.nan, math.nan))  # the average begins anew
            before = chunk["epoch"]
            points.append((before + (chunk["examples"] - begin) / (end - begin), chunk[name]))
    return [x for x, _ in points], [y for _, y in points]


def _best(history: History, name: str) -> tuple[int, float, str] | None:
    """(epoch from 1, value, which curve) of the best validation, or training where there is none."""
    goal = direction(name, history.model)
    for n, label in ((f"val_{name}", "validation"), (name, "training")):
        if goal and any(_finite(r.get(n)) for r in history.records):
            record = history.best(n, goal)
            return record["epoch"] + 1, record[n], label
    return None


def _both(record: dict[str, Any], name: str) -> tuple[Any, Any]:
    return record.get(name), record.get(f"val_{name}")


def _last(records: list[dict[str, Any]], name: str) -> float | None:
    return next((r[name] for r in reversed(records) if _is_number(r.get(name))), None)


def _columns(records: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys((*_FIRST, *(k for r in records for k in r))))


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """A number as a float, an array as a list: what JSON can hold."""
    if isinstance(value, (str, bool)) or value is None:
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    return float(value) if isinstance(value, (int, float)) else value


def _encode(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    return float(value) if value in ("nan", "inf", "-inf") else value
