"""The report: one HTML file that holds everything it shows, and asks nothing of the network."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import unknown
from ..files import write_atomically
from ..train.history import History, direction, number
from .charts import Curve, interval_strip, line_chart, reliability_chart
from .facts import Facts, count, percent, seconds, size, sureness
from .html import Html, document, el, join, table
from .pictures import is_pictures, picture, value_range
from .scores import Scores, baseline, score
from .words import LANGUAGES, TERMS, WORDS

MOST_CLASSES = 25  # in the confusion matrix
SAMPLES = 6  # pictures of a class
WORST = 24  # mistakes shown
_COUNTERS = ("epoch", "step", "examples", "seconds")


def write(
    path: str | os.PathLike,
    probabilities: Any,
    labels: Any,
    *,
    classes: Sequence[str] | None = None,
    pictures: Any = None,
    parts: Mapping[str, Any] | None = None,
    model: Any = None,
    history: History | None = None,
    facts: Facts | None = None,
    language: str = "en",
) -> Path:
    """Write a report of how well a classifier did: a page for light and dark, paper and phone, with no outside parts.

    Args:
        path: the HTML file; it appears whole or not at all.
        probabilities: (n, classes), what the model said of the test examples.
        labels: (n,), their true classes, from 0.
        classes: a name for each class; the numbers by default.
        pictures: (n, height, width[, channel]), the test examples, if they can be shown.
        parts: labels of the parts of the data, ``{"training": ..., "validation": ..., "test": ...}``, for the counts.
        model: shown layer by layer.
        history: shown as curves.
        facts: settings, times, versions, the command that does the same again.
        language: "en" or "zh".

    Raises: ValueError for labels that do not fit the probabilities, or an unknown language; OSError if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write(folder + "/report.html", [[0.9, 0.1], [0.4, 0.6]], [0, 1], classes=["cat", "dog"])
    ...     "cat" in page.read_text("utf-8")
    True
    """
    if language not in WORDS:
        raise unknown("language", language, LANGUAGES)
    scores = score(probabilities, labels)
    names = [str(i) for i in range(scores.probabilities.shape[1])] if classes is None else [str(c) for c in classes]
    if len(names) != scores.probabilities.shape[1]:
        raise ValueError(f"{len(names)} class names for {scores.probabilities.shape[1]} probabilities of each example")
    if pictures is not None:
        pictures = np.asarray(pictures)
        if len(pictures) != scores.count:
            raise ValueError(f"{len(pictures)} pictures for {scores.count} labels")
    known = (parts or {}).get("training")
    if known is None and isinstance(getattr(model, "info", {}).get("commonest"), int):
        known = [model.info["commonest"]]  # as it was in the data that the model has learned from
    common = baseline(scores.labels, known)
    page = _Page(scores, names, pictures, dict(parts or {}), facts or Facts(), language)
    sections = [
        page.header(*common),
        page.data(),
        page.model(model),
        page.curves(history),
        page.results(),
        page.worst(),
        page.trust(),
        page.repeat(),
        page.footer(),
    ]
    return write_atomically(path, document(page.title(), sections, page.say("html_lang")).encode("utf-8"))


class _Page:
    """The sections of a report, and what they share."""

    def __init__(
        self,
        scores: Scores,
        names: list[str],
        pictures: np.ndarray | None,
        parts: dict[str, Any],
        facts: Facts,
        language: str,
    ) -> None:
        self.scores, self.names, self.facts = scores, names, facts
        self.pictures = pictures if pictures is not None and is_pictures(pictures) else None
        self.span = (0.0, 1.0) if self.pictures is None else value_range(self.pictures)
        self.parts = {k: np.asarray(v).reshape(-1).astype(np.int64) for k, v in parts.items()} or {"test": scores.labels}
        self.words, self.terms = WORDS[language], TERMS[language]

    def say(self, key: str, **values: Any) -> str:
        return self.words[key].format(**values)

    def term(self, name: str) -> str:
        return self.terms.get(name, name.replace("_", " "))

    def title(self) -> str:
        return f"{self.facts.title}: {self.say('report')}" if self.facts.title else self.say("report")

    # -- what comes first --------------------------------------------------------------------------------------------------

    def header(self, common: int, rate: float) -> Html:
        s = self.scores
        low, high = (percent(v, s.count) for v in s.interval)
        name = self.names[common] if common < len(self.names) else str(common)
        interval = self.say("interval", low=low, high=high)
        compare = self.say("baseline", name=name, accuracy=percent(rate, s.count))
        return el(
            "header",
            el("h1", self.facts.title or self.say("report")),
            el("p", self.facts.about, class_="soft") if self.facts.about else None,
            el(
                "div",
                el("b", percent(s.accuracy, s.count)),
                el("span", el("strong", self.say("score")), self.say("score_text", right=s.right, count=s.count)),
                class_="score",
            ),
            interval_strip(s.accuracy, s.interval, rate, (interval, compare)),
            el("p", interval, " ", compare),
            el("p", self.say("no_better"), class_="note") if s.interval.low <= rate else None,
            el("p", self.say("interrupted"), class_="note") if self.facts.interrupted else None,
        )

    def data(self) -> Html:
        counted = {k: v for k, v in self.parts.items() if len(v)}
        said = [self.say("part_counts", count=len(v), name=self._part(k)) for k, v in counted.items()]
        line = self.say("comma").join(said)
        explained = None
        if {"training", "test"} <= counted.keys():
            explained = self.say("data_text" if "validation" in counted else "data_text_two")
        counts = {k: np.bincount(v, minlength=len(self.names)) for k, v in counted.items()}
        rows: list[list[Any]] = []
        together = np.sum(list(counts.values()), axis=0)
        for i, name in enumerate(self.names):
            row: list[Any] = [name]
            if self.pictures is not None:
                row.append(self._samples(i))
            row += [f"{c[i]:,}" for c in counts.values()]
            share = together[i] / max(together.sum(), 1)
            full = max(together.max(), 1)
            row.append(el("span", _bar(together[i] / full), " ", percent(share), class_="line-of"))
            rows.append(row)
        head = [self.say("class"), *([self.say("examples")] if self.pictures is not None else [])]
        head += [*(self._part(k) for k in counts), self.say("share")]
        shown = table(head, rows, text=(0, len(head) - 1, *([1] if self.pictures is not None else [])))
        if len(self.names) > MOST_CLASSES:
            shown = _folded(f"{len(self.names)} × {self.say('class')}", shown)
        return el("section", el("h2", self.say("data")), el("p", line, class_="soft"), el("p", explained or ""), shown)

    def _part(self, name: str) -> str:
        return self.words.get(name, name)

    def _samples(self, index: int) -> Html:
        assert self.pictures is not None
        rows = np.flatnonzero(self.scores.labels == index)[:SAMPLES]
        alt = self.names[index]
        return el("div", [picture(self.pictures[r], self.span, alt) for r in rows], class_="samples")

    def model(self, model: Any) -> Html:
        if model is None:
            return Html("")
        found = model.summary(show=False)
        prepared = getattr(model, "info", {}).get("input")
        text = self.say("model_text" if prepared else "model_plain", params=f"{found.parameters:,}")
        work = self.say("model_work", flops=count(found.flops), weights=size(found.weight_bytes))
        rows = [
            [
                el("span", r.path, f" ({r.note})" if r.note else None, style=f"padding-left:{r.depth}em"),
                *(r.kind, r.shape.replace(" ", "\u00a0"), f"{r.parameters:,}", count(r.flops)),
            ]
            for r in found.rows
        ]
        head = [self.say(k) for k in ("layer", "kind", "output", "parameters", "operations")]
        shown = table(head, rows, class_="model", text=(0, 1, 2))
        return el("section", el("h2", self.say("model")), el("p", text, " ", work), shown)

    def curves(self, history: History | None) -> Html:
        if history is None:
            return Html("")
        if not history.records:
            return el("section", el("h2", self.say("curves")), el("p", self.say("no_curves")))
        names = dict.fromkeys(k.removeprefix("val_") for r in history.records for k in r if k not in _COUNTERS)
        names.pop("learning_rate", None)
        rates = {r.get("learning_rate") for r in history.records}
        figures = [self._curve(history, name) for name in [*names, *(["learning_rate"] if len(rates) > 1 else [])]]
        kept = el("p", self.say("kept", epoch=self.facts.kept_epoch)) if self.facts.kept_epoch else None
        return el(
            "section",
            el("h2", self.say("curves")),
            kept,
            el("p", self.say("curves_text"), class_="soft"),
            el("div", figures, class_="charts"),
        )

    def _curve(self, history: History, name: str) -> Html | None:
        curves = []
        for key, style, text in ((name, "train", "training"), (f"val_{name}", "valid", "validation")):
            points = [(float(r["epoch"] + 1), float(r[key])) for r in history.records if _is_number(r.get(key))]
            if points:
                curves.append(Curve(self.say(text), style, points))
        finite = [p for p in (curves[-1].points if curves else ()) if math.isfinite(p[1])]
        if not finite:
            return None
        best, goal = None, direction(name)
        if goal and len(finite) > 1:
            x, y = (min if goal == "min" else max)(finite, key=lambda p: p[1])
            best = (x, y, self.say("best_epoch", value=number(y), epoch=int(x)))
        title = self.term(name)
        keys = [el("span", c.label, class_=f"key {c.style}") for c in curves] if len(curves) > 1 else None
        said = el("figcaption", el("b", title), keys, el("span", best[2], class_="mark-text") if best else None)
        return el("figure", said, line_chart(title, curves, x_label=self.say("epoch"), best=best))

    # -- results -----------------------------------------------------------------------------------------------------------

    def results(self) -> Html:
        s = self.scores
        parts: list[Any] = [el("h2", self.say("results"))]
        if s.right == s.count:
            parts.append(el("p", self.say("no_mistakes", count=s.count)))
        parts.append(el("p", self.say("matrix_text"), class_="soft"))
        pairs = [
            self.say("confused_row", true=self.names[t], said=self.names[p], count=n, total=int(s.confusion[t].sum()))
            for t, p, n in s.confused()
        ]
        common = el("div", el("h3", self.say("confused")), el("ul", [el("li", p) for p in pairs])) if pairs else None
        parts.append(el("div", el("div", self._matrix()), common, class_="beside"))
        parts += [el("h3", self.say("by_class")), el("p", self.say("by_class_text"), class_="soft"), self._by_class()]
        return el("section", *parts)

    def _matrix(self) -> Html:
        m, chosen = self.scores.confusion, np.arange(len(self.names))
        note = None
        if len(chosen) > MOST_CLASSES:
            wrong = m.sum(0) + m.sum(1) - 2 * np.diag(m)
            chosen = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
            note = el("p", self.say("matrix_some", shown=MOST_CLASSES, all=len(self.names)), class_="soft")
        tall = "tall" if max(len(self.names[i]) for i in chosen) > 3 else None
        corner = el("th", f"{self.say('true')} ↓", el("br"), f"{self.say('said')} →", class_="axis-name")
        head = el("tr", corner, [el("th", el("span", self.names[i]), scope="col", class_=tall) for i in chosen])
        lines = []
        for i in chosen:
            total = int(m[i].sum())
            cells = [self._cell(int(i), int(j), int(m[i, j]), total) for j in chosen]
            lines.append(el("tr", el("th", self.names[i], scope="row"), cells))
        shown = el("div", el("table", el("thead", head), el("tbody", lines), class_="matrix"), class_="scroll")
        return join(note, shown)

    def _cell(self, true: int, said: int, count: int, total: int) -> Html:
        names = {"true": self.names[true], "said": self.names[said]}
        share = count / total if total else 0.0
        if not count:
            return el("td")
        title = self.say("cell", **names, count=count, total=total, share=percent(share))
        # Few mistakes must still be seen: their colour grows with the root of the share.
        strength = 0.12 + 0.6 * share if true == said else min(0.18 + 0.8 * math.sqrt(share), 0.9)
        return el("td", f"{count:,}", title=title, class_="hit" if true == said else "miss", style=f"--a:{strength:.2f}")

    def _by_class(self) -> Html:
        rows = []
        for row in self.scores.classes:
            values = [percent(row.precision), percent(row.recall), percent(row.f1)]
            meter = "" if math.isnan(row.f1) else _bar(row.f1, "bar meter")
            rows.append([self.names[row.index], f"{row.count:,}", *values, meter])
        head = [self.say(k) for k in ("class", "count", "precision", "recall", "f1")]
        shown = table([*head, ""], rows, text=(0, 5))
        return shown if len(rows) <= MOST_CLASSES else _folded(f"{len(rows)} × {self.say('class')}", shown)

    def worst(self) -> Html:
        rows = self.scores.worst(WORST)
        if self.pictures is None or not len(rows):
            return Html("")
        figures = []
        for r in rows:
            true, said = int(self.scores.labels[r]), int(self.scores.predicted[r])
            sure = float(self.scores.probabilities[r, said])
            names = {"true": self.names[true], "said": self.names[said]}
            truth = self.say("worst_truth", truth=sureness(float(self.scores.truth[r])))
            image = picture(self.pictures[r], self.span, self.say("worst_caption", **names), f"#{r}; {truth}")
            answer = join(self.say("said"), " ", el("b", names["said"]), f" ({sureness(sure)})")
            figures.append(el("figure", image, el("figcaption", self.say("true"), " ", names["true"], el("br"), answer)))
        text = self.say("worst_text", count=len(rows))
        return el("section", el("h2", self.say("worst")), el("p", text, class_="soft"), el("div", figures, class_="wall"))

    def trust(self) -> Html:
        words = (self.say("certainty"), self.say("how_often"), self.words["trust_point"])
        text = self.say("trust_text", error=percent(self.scores.calibration_error))
        figure = el("figure", el("figcaption", el("b", words[1])), reliability_chart(self.scores.reliability(), words))
        shown = el("div", figure, class_="charts one")
        return el("section", el("h2", self.say("trust")), el("p", text, class_="soft"), shown)

    # -- what comes last ---------------------------------------------------------------------------------------------------

    def repeat(self) -> Html:
        f = self.facts
        parts: list[Any] = []
        if f.command:
            parts += [el("pre", _command(f.command)), el("p", self.say("repeat_text"), class_="soft")]
        settings = {self.term(str(k)): v for k, v in f.settings.items()}
        cost = {self.words.get(f"time_{k}", k): seconds(v) for k, v in f.seconds.items()}
        cost |= {self.say("memory"): size(f.memory)} if f.memory else {}
        cost |= {self.say("device"): f.device} if f.device else {}
        cost |= {self.say("stopped"): f.stopped} if f.stopped else {}
        lists = (("settings", settings), ("cost", cost), ("versions", f.versions))
        shown = [el("div", el("h3", self.say(key)), _pairs(values)) for key, values in lists if values]
        parts.append(el("div", shown, class_="beside") if shown else None)
        return el("section", el("h2", self.say("repeat")), *parts) if any(parts) else Html("")

    def footer(self) -> Html:
        from .. import __version__

        return el("footer", self.say("made", version=__version__))


def _command(text: str) -> Html:
    """A command that is broken into lines between its options only."""
    first, *options = text.split(" --")
    return join(el("span", first), [join(" ", el("span", f"--{option}")) for option in options])


def _bar(share: float, class_: str = "bar") -> Html:
    return el("span", class_=class_, style=f"width:{6 * share:.2f}rem")


def _folded(title: str, content: Html) -> Html:
    return el("details", el("summary", title), content)


def _pairs(values: Mapping[str, Any]) -> Html:
    return el("dl", [join(el("dt", k), el("dd", v)) for k, v in values.items()])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
