"""The sections of a report about its results: one for each kind of answer, and the worst and the best examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .charts import Curve, forecast_chart, histogram, line_chart, reliability_chart, scatter
from .data import MOST_CLASSES
from .exhibits import cut, place
from .facts import percent, plain, sureness
from .html import Html, bar, el, folded, join, table
from .scores import Scores
from .story import Classified, Labelled, Story
from .words import Language

__all__ = ["answers", "best", "classes", "forecasts", "labels", "quantities", "samples", "trust", "worst"]

WORST, BEST = 24, 7  # examples shown, where they are small: rows of 7
FEW = 6  # where they are large
MOST_QUANTITIES = 4


# -- classes ---------------------------------------------------------------------------------------------------------------


def classes(story: Story, words: Language) -> Html:
    """The confusion matrix, the commonest confusions, and each class by itself."""
    if story.classified is None:
        return Html("")
    s, names = story.classified.scores, story.classified.names
    parts: list[Html | None] = [el("h2", words.say("results"))]
    if s.right == s.count:
        parts.append(el("p", words.say("no_mistakes", count=s.count)))
    parts.append(el("p", words.say("matrix_text"), class_="soft"))
    pairs = [
        words.say("confused_row", true=names[t], said=names[p], count=n, total=int(s.confusion[t].sum()))
        for t, p, n in s.confused()
    ]
    common = el("div", el("h3", words.say("confused")), el("ul", [el("li", p) for p in pairs])) if pairs else None
    parts.append(el("div", el("div", _matrix(s, names, words)), common, class_="beside"))
    parts += [el("h3", words.say("by_class")), el("p", words.say("by_class_text"), class_="soft")]
    rows = [(names[r.index], r.count, r.precision, r.recall, r.f1) for r in s.classes]
    parts.append(_each(rows, "class", words))
    return el("section", *parts)


def _matrix(s: Scores, names: Sequence[str], words: Language) -> Html:
    m, shown, note = s.confusion, list(range(len(names))), None
    if len(shown) > MOST_CLASSES:
        wrong = m.sum(0) + m.sum(1) - 2 * np.diag(m)
        shown = sorted(np.argsort(-wrong, kind="stable")[:MOST_CLASSES].tolist())
        note = el("p", words.say("matrix_some", shown=MOST_CLASSES, all=len(names)), class_="soft")
    tall = "tall" if max(len(names[i]) for i in shown) > 3 else None
    corner = el("th", f"{words.say('true')} ↓", el("br"), f"{words.say('said')} →", class_="axis-name")
    head = el("tr", corner, [el("th", el("span", names[i]), scope="col", class_=tall) for i in shown])
    lines = []
    for i in shown:
        cells = [_cell((names[i], names[j]), i == j, int(m[i, j]), int(m[i].sum()), words) for j in shown]
        lines.append(el("tr", el("th", names[i], scope="row"), cells))
    return join(note, el("div", el("table", el("thead", head), el("tbody", lines), class_="matrix"), class_="scroll"))


def _cell(names: tuple[str, str], hit: bool, count: int, total: int, words: Language) -> Html:
    if not count:
        return el("td")
    share = count / total
    title = words.say("cell", true=names[0], said=names[1], count=count, total=total, share=percent(share))
    # Few mistakes must still be seen: their colour grows with the root of the share.
    strength = 0.12 + 0.6 * share if hit else min(0.18 + 0.8 * math.sqrt(share), 0.9)
    return el("td", f"{count:,}", title=title, class_="hit" if hit else "miss", style=f"--a:{strength:.2f}")


def _each(rows: list[tuple[str, int, float, float, float]], what: str, words: Language) -> Html:
    """A table of counts, precision, recall and F1."""
    cells = [
        [name, f"{count:,}", percent(precision), percent(recall), percent(f1), "" if math.isnan(f1) else bar(f1, "bar meter")]
        for name, count, precision, recall, f1 in rows
    ]
    head = [words.say(k) for k in (what, "count", "precision", "recall", "f1")]
    shown = table([*head, ""], cells, text=(0, 5))
    return shown if len(rows) <= MOST_CLASSES else folded(f"{len(rows)} × {words.say(what)}", shown)


def trust(story: Story, words: Language) -> Html:
    """The reliability diagram."""
    if story.classified is None:
        return Html("")
    s = story.classified.scores
    said = (words.say("certainty"), words.say("how_often"), words.words["trust_point"])
    text = words.say("trust_text", error=percent(s.calibration_error))
    figure = el("figure", el("figcaption", el("b", said[1])), reliability_chart(s.reliability(), said))
    shown = el("div", figure, class_="charts one")
    return el("section", el("h2", words.say("trust")), el("p", text, class_="soft"), shown)


def labels(story: Story, words: Language) -> Html:
    """Each label by itself, where an example can have several."""
    found: Labelled | None = story.labelled
    if found is None:
        return Html("")
    said, true = found.probabilities >= 0.5, found.truth > 0.5
    rows = []
    for i, name in enumerate(found.names):
        right, given, there = (int(v.sum()) for v in (said[:, i] & true[:, i], said[:, i], true[:, i]))
        rates = (right / given if given else math.nan, right / there if there else math.nan)
        rows.append((name, there, *rates, 2 * right / (given + there) if given + there else math.nan))
    text = el("p", words.say("by_label_text"), class_="soft")
    return el("section", el("h2", words.say("by_label")), text, _each(rows, "label", words))


# -- quantities ------------------------------------------------------------------------------------------------------------


def quantities(story: Story, words: Language) -> Html:
    """Predicted against true, and a histogram of the errors."""
    found = story.measured
    if found is None:
        return Html("")
    figures = []
    point, bin_said = words.words["point"], words.words["spread_words"]
    for i, name in enumerate(found.names[:MOST_QUANTITIES]):
        said, true = found.predicted[:, i], found.true[:, i]
        several = f"{name}: " if len(found.names) > 1 else ""
        axes = (words.say("true"), words.say("predicted"), point)
        figures.append(_figure(several + words.say("predicted_true"), scatter(name, true, said, axes)))
        drawn = histogram(name, said - true, (found.unit, bin_said), zero=True, height=340)
        figures.append(_figure(several + words.say("residuals"), drawn))
    text = el("p", words.say("predicted_text"), words.say("gap"), words.say("residuals_text"), class_="soft")
    return el("section", el("h2", words.say("results")), text, el("div", figures, class_="charts"))


def forecasts(story: Story, words: Language) -> Html:
    """The last windows as they were foreseen and as they came, and the error by the step ahead."""
    found = story.foreseen
    if found is None or not found.windows:
        return Html("")
    banded = found.windows[0].low is not None
    names = [words.say(k) for k in ("past", "came", "foreseen", "band")]
    keys = [el("span", n, class_=f"key {c}") for n, c in zip(names, ("past", "train", "valid", "between"), strict=True)]
    several = len({w.name for w in found.windows}) > 1
    figures = []
    for window in found.windows:
        head = el("figcaption", el("b", window.name) if several else None, keys if banded else keys[:3])
        figures.append(el("figure", head, forecast_chart(window, (names[0], names[1], names[2], names[3]))))
    text = words.say("forecasts_text", level=f"{found.level:.0%}") if banded else words.say("forecasts_plain")
    parts = [el("h2", words.say("forecasts")), el("p", text, class_="soft")]
    if banded and found.held is not None and found.held[1] < found.level:
        said = words.say("band_misses", share=percent(found.held[0]), level=f"{found.level:.0%}")
        parts.append(el("p", said, class_="note"))
    parts.append(el("div", figures, class_="charts"))
    errors = [
        _figure(name, line_chart(name, [Curve(name, "train", list(enumerate(v, 1)))], x_label=words.say("steps_ahead")))
        for name, v in found.by_step.items()
        if len(v) > 1
    ]
    if errors:
        parts += [el("h3", words.say("by_step")), el("div", errors, class_="charts" + (" one" if len(errors) == 1 else ""))]
    return el("section", *parts)


def _figure(name: str, drawn: Html) -> Html:
    return el("figure", el("figcaption", el("b", name)), drawn)


# -- examples --------------------------------------------------------------------------------------------------------------


def worst(story: Story, words: Language) -> Html:
    """The worst examples: wrong answers that were surest, or the largest errors."""
    if story.back is not None:
        return _gallery(story, words, _ranked(story, True), "unusual", "unusual_text")
    if story.classified is not None:
        rows = story.classified.scores.worst(WORST if story.small else FEW).tolist()
        return _gallery(story, words, rows, "worst", "worst_text")
    return _gallery(story, words, _ranked(story, True), "largest", "largest_text")


def best(story: Story, words: Language) -> Html:
    """The best examples."""
    if story.back is not None:
        return _gallery(story, words, _ranked(story, False), "usual", "usual_text")
    if story.classified is not None:
        s = story.classified.scores
        right = np.flatnonzero(s.predicted == s.labels)
        rows = right[np.argsort(-s.truth[right], kind="stable")][: BEST if story.small else FEW // 2].tolist()
        return _gallery(story, words, rows, "best", "best_text")
    return _gallery(story, words, _ranked(story, False), "best", "smallest_text")


def _ranked(story: Story, worst: bool) -> list[int]:
    """Examples by their errors; none where all are alike."""
    if story.errors is None or not len(story.errors) or story.kind == "series":
        return []
    errors = np.asarray(story.errors)
    many = BEST if story.small and story.back is None else FEW
    most = np.argsort(-errors, kind="stable")[: min(many, len(errors) // 2)].tolist()
    if worst:
        return [i for i in most if errors[i] > 0]
    least = np.argsort(errors, kind="stable")[: len(most) if story.small and story.back is None else len(most) // 2].tolist()
    return [i for i in least if i not in most]


def _gallery(story: Story, words: Language, rows: list[int], head: str, text: str) -> Html:
    """Examples with what is true of them and what was said."""
    if story.show is None or not rows:
        return Html("")
    shown = story.show(rows)
    after = None if story.back is None else story.back(rows)
    figures = []
    for at, (row, picture) in enumerate(zip(rows, shown, strict=True)):
        name = place(story.names[row]) if row < len(story.names) else f"#{row}"
        if after is not None:
            if story.small:
                sides = ((words.say("original"), picture), (words.say("restored"), after[at]))
                picture = el("div", [el("div", side, el("small", said)) for said, side in sides], class_="pair")
            else:
                picture = join(picture, el("p", words.say("changed"), class_="soft changed"), after[at])
        title = name
        if story.classified is not None:
            title += f"; {words.say('worst_truth', truth=sureness(float(story.classified.scores.truth[row])))}"
        caption = el("figcaption", answers(story, row, words), el("span", name, class_="soft name"), title=title)
        figures.append(el("figure", picture, caption))
    kind = words.say("windows_of" if story.kind == "series" else "examples_of")
    told = el("p", words.say(text, count=len(rows), examples=kind), class_="soft")
    layout = "wall" if story.small and after is None else "examples"
    return el("section", el("h2", words.say(head)), told, el("div", figures, class_=layout))


def answers(story: Story, row: int, words: Language) -> Html:
    """What is true of a test example, and what the model said."""
    lines: list[Html] = []

    def say(key: str, *value: object) -> None:
        lines.append(el("div", words.say(key), " ", *value))

    if story.classified is not None:
        _class(story.classified, row, say)
        s = story.classified.scores
        if s.predicted[row] != s.labels[row] and not story.small:
            lines.append(el("div", words.say("worst_truth", truth=sureness(float(s.truth[row]))), class_="soft"))
    elif story.labelled is not None:
        found = story.labelled
        true = [found.names[i] for i in np.flatnonzero(found.truth[row] > 0.5).tolist()]
        p = found.probabilities[row]
        said = [f"{found.names[i]} ({sureness(float(p[i]))})" for i in np.flatnonzero(p >= 0.5).tolist()]
        say("true", ", ".join(true) or words.say("nothing"))
        right = bool(((p >= 0.5) == (found.truth[row] > 0.5)).all())
        say("said", el("b", ", ".join(said) or words.say("nothing"), class_="right" if right else None))
    elif story.measured is not None:
        for name, true, said in zip(
            story.measured.names[:MOST_QUANTITIES], story.measured.true[row], story.measured.predicted[row], strict=False
        ):
            several = f"{name} " if len(story.measured.names) > 1 else ""
            say("true", f"{several}{plain(true)}")
            say("predicted", el("b", f"{several}{plain(said)}"))
    elif story.written is not None:
        said, true = story.written.said[row], story.written.true[row]
        say("said", el("b", cut(said) or words.say("nothing"), class_="right" if said.casefold() == true.casefold() else None))
        say("reference", cut(true))
    elif story.errors is not None:
        say("error", el("b", plain(float(story.errors[row])), class_="plain"))
    return join(*lines)


def _class(found: Classified, row: int, say) -> None:
    s = found.scores
    true, said = int(s.labels[row]), int(s.predicted[row])
    sure = sureness(float(s.probabilities[row, said]))
    say("true", found.names[true])
    say("said", el("b", found.names[said], class_="right" if true == said else None), f" ({sure})")


def samples(story: Story, words: Language) -> Html:
    """Texts that the model wrote."""
    if not story.samples:
        return Html("")
    shown = [el("blockquote", el("b", given), written, class_="sample") for given, written in story.samples]
    return el("section", el("h2", words.say("samples")), el("p", words.say("samples_text"), class_="soft"), *shown)
