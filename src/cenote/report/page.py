"""The report: one HTML file that holds everything it shows, and asks nothing of the network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically
from ..train.history import History
from . import data, learning, results
from .facts import Facts, seconds, size
from .html import Html, document, el, join, pairs, table
from .pictures import is_pictures, picture, value_range
from .scores import baseline, score
from .story import Classified, Story
from .words import Language

__all__ = ["render", "write"]

SECTIONS = (
    data.data,
    learning.chosen,
    learning.model,
    learning.curves,
    results.classes,
    results.labels,
    results.quantities,
    results.forecasts,
    results.samples,
    results.worst,
    results.best,
    results.trust,
)


def render(path: str | os.PathLike, story: Story, language: str = "en") -> Path:
    """Write the page of a story, whole or not at all: sections come in one order, those with nothing to show are left out.

    Raises: ValueError for an unknown language; OSError if it cannot be written.
    """
    words = Language(language)
    sections = [_header(story, words), *(section(story, words) for section in SECTIONS), _repeat(story.facts, words)]
    title = f"{story.facts.title}: {words.say('report')}" if story.facts.title else words.say("report")
    page = document(title, [*sections, _footer(words)], words.say("html_lang"))
    return write_atomically(path, page.encode("utf-8"))


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
    from ..tasks.scores import Baseline, of_classes

    Language(language)  # raises for one that is not there
    found = score(probabilities, labels)
    names = [str(i) for i in range(found.probabilities.shape[1])] if classes is None else [str(c) for c in classes]
    if len(names) != found.probabilities.shape[1]:
        raise ValueError(f"{len(names)} class names for {found.probabilities.shape[1]} probabilities of each example")
    known = (parts or {}).get("training")
    if known is None and isinstance(getattr(model, "info", {}).get("commonest"), int):
        known = [model.info["commonest"]]  # as it was in the data that the model has learned from
    common, rate = baseline(found.labels, known)
    name = names[common] if common < len(names) else str(common)
    story = Story(
        facts=facts or Facts(),
        scores=of_classes(found.probabilities, found.labels, names).values,
        count=found.count,
        baselines=[Baseline("majority class", rate, Language(language).say("always", name=name))],
        parts={k: np.asarray(v).size for k, v in (parts or {"test": found.labels}).items()},
        model=model,
        history=history,
        classified=Classified(names=names, scores=found, parts=dict(parts or {})),
    )
    if pictures is not None:
        given = np.asarray(pictures)
        if len(given) != found.count:
            raise ValueError(f"{len(given)} pictures for {found.count} labels")
        if is_pictures(given):
            span = value_range(given)
            alt = [names[i] for i in found.labels]
            story.kind, story.show = "image", lambda rows: [picture(given[i], span, alt[i]) for i in rows]
    return render(path, story, language)


# -- what comes first ------------------------------------------------------------------------------------------------------


def _header(story: Story, words: Language) -> Html:
    f = story.facts
    parts: list[Any] = [
        el("h1", words.sentence(f.title) or words.say("report")),
        el("p", words.sentence(f.about), class_="soft") if f.about else None,
    ]
    parts += _score(story, words) if story.scores else [el("p", words.say("no_score"), class_="note")]
    parts.append(el("p", words.say("interrupted"), class_="note") if f.interrupted else None)
    return el("header", *parts)


def _score(story: Story, words: Language) -> list[Any]:
    main, count = story.scores[0], story.count
    kind = words.say("windows_of" if story.kind == "series" else "tokens_of" if story.samples else "examples_of")
    text = words.say("score_text", count=count, examples=kind)
    if story.classified is not None and main.name == "accuracy":
        text = words.say("score_right", right=story.classified.scores.right, count=count)
    if "training" in story.parts:  # else it is other data, of which only the user knows
        text += words.say("gap") + words.say("apart")
    said = el("span", el("strong", words.term(main.name)), text)
    known = main.low == main.low
    low, high = (main.write(v, count) for v in (main.low, main.high))
    told = [words.say("interval", low=low, high=high)] if known else []
    told.append(words.say("lower" if main.better == "lower" else "higher"))
    close = [b for b in story.baselines if not main.beats(b.value)]
    worse = [b for b in close if (main.high < b.value if main.better == "higher" else main.low > b.value)]
    notes = []
    for key, others in (("worse", worse), ("no_better", [b for b in close if b not in worse])):
        names = words.say("comma").join(words.say("quoted", name=words.term(b.name)) for b in others)
        notes.append(el("p", words.say(key, names=names), class_="note") if others else None)
    if story.baselines and not close:
        notes.append(el("p", words.say("all_better")))
    return [
        el("div", el("b", main.text(count)), said, class_="score"),
        _strip(story, words),
        el("p", words.say("gap").join(told)),
        *notes,
        _others(story, words),
    ]


def _strip(story: Story, words: Language) -> Html | None:
    """The model's score with its interval above those of simple answers, on one ruler."""
    main, count = story.scores[0], story.count
    ends = [v for v in (main.value, main.low, main.high, *(b.value for b in story.baselines)) if np.isfinite(v)]
    if not ends:
        return None
    if main.percent and min(ends) >= 0 and max(ends) <= 1:
        first, last = 0.0, 1.0
    else:
        first, last = min(ends), max(ends)
        space = (last - first) * 0.08 or abs(last) * 0.1 or 0.5
        first, last = first - space if first < 0 or first > (last - first) else 0.0, last + space

    def at(value: float) -> float:
        return 100 * min(max((value - first) / (last - first), 0), 1)

    def line(name: Any, value: float, marks: list[Html], class_: str) -> Html:
        track = el("div", marks, class_="track")
        return join(el("div", name, class_=f"name {class_}"), track, el("div", main.write(value, count), class_="number"))

    said = f"{words.term(main.name)} {main.text(count)}"
    marks = [el("i", class_="dot", style=f"left:{at(main.value):.2f}%", title=said)]
    if main.low == main.low:
        left, right = sorted((at(main.low), at(main.high)))
        marks.insert(0, el("i", class_="band", style=f"left:{left:.2f}%;width:{max(right - left, 0.4):.2f}%", title=said))
    rows = [line(words.say("this_model"), main.value, marks, "own")]
    for b in story.baselines:
        mark = el("i", class_="mark", style=f"left:{at(b.value):.2f}%", title=main.write(b.value, count))
        name = join(words.term(b.name), el("small", words.sentence(_about(b, story, words))) if b.about else None)
        rows.append(line(name, b.value, [mark], ""))
    if not np.isfinite([first, last]).all():
        return None
    ruler = el("div", el("span", main.write(first, count)), el("span", main.write(last, count)), class_="ruler")
    return el("div", *rows, el("div"), ruler, class_="strip")


def _about(b: Any, story: Story, words: Language) -> str:
    """How a simple answer is found, in the page's language where it is only a class."""
    found = story.classified
    if b.name == "majority class" and found is not None and found.parts.get("training") is not None:
        counts = np.bincount(np.asarray(found.parts["training"]).reshape(-1).astype(np.int64), minlength=len(found.names))
        return words.say("always", name=found.names[int(counts.argmax())])
    return b.about


def _others(story: Story, words: Language) -> Html | None:
    """All scores with their intervals."""
    if len(story.scores) < 2:
        return None
    rows = []
    for s in story.scores:
        ends = [s.write(v, story.count) for v in (s.low, s.high)]
        rows.append([words.term(s.name), s.text(story.count), f"{ends[0]} – {ends[1]}" if s.low == s.low else "–"])
    head = [words.say(k) for k in ("measure", "value", "interval_head")]
    return join(el("h3", words.say("scores")), table(head, rows))


# -- what comes last -------------------------------------------------------------------------------------------------------


def _repeat(f: Facts, words: Language) -> Html:
    parts: list[Any] = []
    if f.command:
        parts += [el("pre", _command(f.command)), el("p", words.say("repeat_text"), class_="soft")]
    settings = {words.term(str(k)): v for k, v in f.settings.items()}
    cost = {words.known(f"time_{k}").removeprefix("time_"): seconds(v) for k, v in f.seconds.items()}
    cost |= {words.say("memory"): size(f.memory)} if f.memory else {}
    cost |= {words.say("device"): f.device} if f.device else {}
    cost |= {words.say("stopped"): words.sentence(f.stopped)} if f.stopped else {}
    lists = (("settings", settings), ("cost", cost), ("versions", f.versions))
    found = [el("div", el("h3", words.say(key)), pairs(values)) for key, values in lists if values]
    parts.append(el("div", found, class_="beside") if found else None)
    return el("section", el("h2", words.say("repeat")), *parts) if any(parts) else Html("")


def _footer(words: Language) -> Html:
    from .. import __version__

    return el("footer", words.say("made", version=__version__))


def _command(text: str) -> Html:
    """A command that is broken into lines between its options only."""
    first, *options = text.split(" --")
    return join(el("span", first), [join(" ", el("span", f"--{option}")) for option in options])
