"""The sections of a report about its data: parts, findings, columns, balance, histograms, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .charts import course_chart, histogram
from .exhibits import place
from .facts import percent
from .html import Html, bar, el, folded, join, table
from .story import Classified, Labelled, Story
from .words import Language

__all__ = ["MOST_CLASSES", "data"]

MOST_CLASSES = 25  # of a table that is open
SAMPLES, MOST_SAMPLES = 6, 120  # pictures of a class, and of all
SHOWN = 6  # examples of data without classes
MOST_COLUMNS = 40


def data(story: Story, words: Language) -> Html:
    """What the model learned from and was tested on."""
    parts: list[Html | None] = [_counts(story, words), _findings(story, words)]
    if story.classified is not None:
        parts.append(_classes(story.classified, story, words))
    if story.labelled is not None and story.labelled.parts:
        parts.append(_labels(story.labelled, words))
    parts += [_courses(story, words), _spreads(story, words), _columns(story, words), _examples(story, words)]
    return el("section", el("h2", words.say("data")), *parts) if any(parts) else Html("")


def _counts(story: Story, words: Language) -> Html | None:
    counted = {name: count for name, count in story.parts.items() if count}
    if not counted:
        return None
    line = words.say("comma").join(words.say("part_counts", count=n, name=words.known(k)) for k, n in counted.items())
    explained = None
    if {"training", "test"} <= counted.keys():
        explained = words.say("data_text" if "validation" in counted else "data_text_two")
    whole = sum(counted.values())
    shares = [
        el(
            "i",
            class_=f"part {name}",
            style=f"width:{100 * n / whole:.2f}%",
            title=f"{words.known(name)}: {percent(n / whole)}",
        )
        for name, n in counted.items()
    ]
    said = el("p", line, f" ({words.sentence(story.parted)})" if story.parted else None, class_="soft")
    strip = el("div", shares, class_="parts") if len(counted) > 1 else None
    return join(said, strip, el("p", explained) if explained else None)


def _findings(story: Story, words: Language) -> Html | None:
    if not story.findings:
        return None
    order = sorted(story.findings, key=lambda f: f.severity != "warning")
    items = []
    for found in order:
        where = f" ({place(found.where)})" if found.where and found.where not in found.text else None
        mark = el("b", words.say("warning"), ": ") if found.severity == "warning" else None
        items.append(el("li", mark, words.sentence(found.text), el("span", where, class_="soft") if where else None))
    shown = el("ul", items[:12], class_="findings")
    rest = folded(words.say("more", count=len(items) - 12), el("ul", items[12:])) if items[12:] else None
    return join(el("h3", words.say("findings")), shown, rest)


def _shares(names: Sequence[str], counts: Mapping[str, np.ndarray], words: Language, shown: Sequence[Html] | None) -> Html:
    """A row for each class: its count in each part, and its share of all, as a bar too."""
    together = np.sum(list(counts.values()), axis=0)
    whole, full = max(float(together.sum()), 1), max(float(together.max()), 1)
    rows = []
    for i, name in enumerate(names):
        share = el("span", bar(together[i] / full), " ", percent(together[i] / whole), class_="line-of")
        samples = [] if shown is None else [shown[i]]
        rows.append([name, *samples, *(f"{int(c[i]):,}" for c in counts.values()), share])
    head = [words.say("class"), *([] if shown is None else [words.say("examples")])]
    head += [*(words.known(k) for k in counts), words.say("share")]
    found = table(head, rows, text=(0, len(head) - 1, *([] if shown is None else [1])))
    return found if len(names) <= MOST_CLASSES else folded(f"{len(names)} × {words.say('class')}", found)


def _classes(found: Classified, story: Story, words: Language) -> Html:
    parts = {k: np.asarray(v).reshape(-1).astype(np.int64) for k, v in found.parts.items()} or {"test": found.scores.labels}
    counts = {k: np.bincount(v, minlength=len(found.names)) for k, v in parts.items() if len(v)}
    shown = None
    each = min(SAMPLES, MOST_SAMPLES // len(found.names))
    if story.show is not None and story.small and each:
        rows = [np.flatnonzero(found.scores.labels == i)[:each].tolist() for i in range(len(found.names))]
        pictures = iter(story.show([r for some in rows for r in some]))
        shown = [el("div", [next(pictures) for _ in some], class_="samples") for some in rows]
    return _shares(found.names, counts, words, shown)


def _labels(found: Labelled, words: Language) -> Html:
    return _shares(found.names, found.parts, words, None)


def _courses(story: Story, words: Language) -> Html | None:
    """Whole series."""
    if not story.courses:
        return None
    figures = [el("figure", el("figcaption", el("b", c.name)), course_chart(c)) for c in story.courses]
    return join(el("p", words.say("series"), class_="soft"), el("div", figures, class_="charts whole"))


def _spreads(story: Story, words: Language) -> Html | None:
    figures = []
    for spread in story.spreads:
        name = words.words.get(spread.name) or words.say("targets_spread", name=spread.name)
        drawn = histogram(name, spread.values, (spread.unit, words.words["spread_words"]))
        if drawn:
            figures.append(el("figure", el("figcaption", el("b", name)), drawn))
    return el("div", figures, class_="charts" + (" one" if len(figures) == 1 else "")) if figures else None


def _columns(story: Story, words: Language) -> Html | None:
    if not story.columns:
        return None
    rows = []
    for c in story.columns:
        missing = join(bar(c.missing / 2, "bar warn"), " ", percent(c.missing)) if c.missing else "–"
        rows.append([c.name, words.sentence(c.type), el("span", missing, class_="line-of"), c.holds, words.sentence(c.used)])
    used = any(c.used for c in story.columns)
    head = [words.say(k) for k in ("column", "type", "missing", "holds", "used")]
    if not used:
        head, rows = head[:4], [row[:4] for row in rows]
    shown = table(head, rows[:MOST_COLUMNS], class_="columns", text=(0, 1, 2, 3, 4))
    more = None
    if len(rows) > MOST_COLUMNS:
        rest = table(head, rows[MOST_COLUMNS:], class_="columns", text=(0, 1, 2, 3, 4))
        more = folded(words.say("more", count=len(rows) - MOST_COLUMNS), rest)
    text = el("p", words.say("columns_text"), class_="soft")
    return join(el("h3", words.say("columns")), text, shown, more)


def _examples(story: Story, words: Language) -> Html | None:
    """Some examples, where the classes have not shown theirs."""
    if story.show is None or not story.count or story.kind == "series" or (story.small and story.classified is not None):
        return None
    count = min(len(story.names) or story.count, SHOWN if not story.small else 2 * SHOWN)
    rows = np.unique(np.linspace(0, (len(story.names) or story.count) - 1, count).astype(int)).tolist()
    figures = []
    for at, shown in zip(rows, story.show(rows), strict=True):
        true = story.true(at)
        said = el("div", words.say("true"), " ", el("b", true, class_="right")) if true else None
        name = el("span", place(story.names[at]), class_="soft name") if at < len(story.names) else None
        figures.append(el("figure", shown, el("figcaption", said, name)))
    return join(el("h3", words.say("some_examples")), el("div", figures, class_="wall" if story.small else "examples"))
