"""The sections of a report about the model: what was chosen and why, its layers, and how it learned."""

from __future__ import annotations

import math
import re
from typing import Any

from ..core import Module
from ..train.history import History, direction, number
from .charts import Curve, line_chart
from .facts import count, size
from .graph import drawing, flow
from .html import Html, el, folded, table
from .story import Story
from .words import Language

__all__ = ["chosen", "curves", "model"]

_COUNTERS = ("epoch", "step", "examples", "seconds")
MOST_LAYERS = 40


def chosen(story: Story, words: Language) -> Html:
    """What the task chose, each with its reason."""
    if not story.chosen:
        return Html("")
    rows = [[words.term(what), value, words.sentence(why)] for what, value, why in story.chosen]
    shown = table([words.say(k) for k in ("what", "value", "why")], rows, class_="chosen", text=(0, 1, 2))
    return el("section", el("h2", words.say("chosen")), shown)


def model(story: Story, words: Language) -> Html:
    """The model's layers: drawn with what each reads, and listed with their sizes."""
    if story.model is None:
        return Html("")
    found = story.model.summary(show=False)
    prepared = getattr(story.model, "info", {}).get("input")
    text = words.say("model_text" if prepared else "model_plain", params=f"{found.parameters:,}")
    work = words.say("model_work", flops=count(found.flops), weights=size(found.weight_bytes))
    rows = []
    above: list[str] = []
    for r in found.rows:
        above = [path for path in above if r.path.startswith(path + ".")]
        if r.kind.startswith("_"):
            continue  # the private part of another, which has it in its numbers
        path = r.path[len(above[-1]) + 1 :] if above else re.sub(r"^layers\.(?=\D)", "", r.path)
        above.append(r.path)
        name = el("span", path, f" ({r.note})" if r.note else None, style=f"padding-left:{r.depth}em", title=r.path)
        rows.append([name, r.kind, r.shape.replace(" ", "\u00a0"), f"{r.parameters:,}", count(r.flops)])
    head = [words.say(k) for k in ("layer", "kind", "output", "parameters", "operations")]
    shown = table(head, rows, class_="model", text=(0, 1, 2))
    if len(rows) > MOST_LAYERS:
        shown = folded(f"{len(rows)} × {words.say('layer')}", shown)
    both = el("div", _drawn(story.model, found, words), el("div", shown, class_="listed"), class_="graph-and-list")
    return el("section", el("h2", words.say("model")), el("p", text, words.say("gap"), work), both)


def _drawn(model: Any, found: Any, words: Language) -> Html | None:
    """The layers as boxes, with arrows to those that read them."""
    if not isinstance(model, Module):
        return None
    names = {"input": words.say("input"), "output": words.say("output_of"), "parameters": words.say("parameters")}
    shown = el("div", drawing(flow(model, found), names, words.say("model")), class_="scroll")
    return el("figure", shown, el("figcaption", words.say("graph_text")), class_="drawn")


def curves(story: Story, words: Language) -> Html:
    """Losses and metrics over the epochs, training and validation."""
    history: History | None = story.history
    if history is None:
        return Html("")
    if not history.records:
        return el("section", el("h2", words.say("curves")), el("p", words.say("no_curves")))
    names = dict.fromkeys(k.removeprefix("val_") for r in history.records for k in r if k not in _COUNTERS)
    names.pop("learning_rate", None)
    rates = {r.get("learning_rate") for r in history.records}
    figures = [_curve(history, name, words) for name in [*names, *(["learning_rate"] if len(rates) > 1 else [])]]
    held = any(key.startswith("val_") for record in history.records for key in record)
    kept = el("p", words.say("kept", epoch=story.facts.kept_epoch)) if story.facts.kept_epoch else None
    return el(
        "section",
        el("h2", words.say("curves")),
        kept,
        el("p", words.say("curves_text"), class_="soft") if held else None,
        el("div", figures, class_="charts"),
    )


def _curve(history: History, name: str, words: Language) -> Html | None:
    found = []
    for key, style, text in ((name, "train", "training"), (f"val_{name}", "valid", "validation")):
        points = [(float(r["epoch"] + 1), float(r[key])) for r in history.records if _is_number(r.get(key))]
        if points:
            found.append(Curve(words.say(text), style, points))
    finite = [p for p in (found[-1].points if found else ()) if math.isfinite(p[1])]
    if not finite:
        return None
    best, goal = None, direction(name)
    if goal and len(finite) > 1:
        x, y = (min if goal == "min" else max)(finite, key=lambda p: p[1])
        best = (x, y, words.say("best_epoch", value=number(y), epoch=int(x)))
    title = words.term(name)
    keys = [el("span", c.label, class_=f"key {c.style}") for c in found] if len(found) > 1 else None
    said = el("figcaption", el("b", title), keys, el("span", best[2], class_="mark-text") if best else None)
    return el("figure", said, line_chart(title, found, x_label=words.say("epoch"), best=best))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
