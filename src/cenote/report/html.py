"""HTML made of nested calls. Text is escaped unless it is `Html` already, so that nothing in the data can become markup."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

VOID = {"br", "hr", "img", "meta", "link", "input", "col"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def el(tag: str, *children: Any, **attributes: Any) -> Html:
    """An element; ``class_`` stands for class, ``data_x`` for data-x; None, False and "" children are left out.

    >>> el("p", "1 < 2", el("b", "!"), class_="note", hidden=None)
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    said = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{said}>" if tag in VOID else f"<{tag}{said}>{join(*children)}</{tag}>")


def document(title: str, sections: list[Html], language: str) -> str:
    """A whole page that holds everything it shows: light and dark, paper and phone. ``language`` is a tag such as zh-CN."""
    style = Path(__file__).with_name("style.css").read_text("utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(style)),
    )
    page = el("html", head, "\n", el("body", *[join(s, "\n") for s in sections if s]), lang=language)
    return f"<!doctype html>\n{page}\n"


def join(*children: Any) -> Html:
    """Children one after the other: lists are flattened, text is escaped."""
    parts = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, (list, tuple)):
            parts.append(join(*child))
        elif child is not None and child is not False:
            parts.append(escape(str(child), quote=False))
    return Html("".join(parts))


def table(head: list[Any], rows: list[list[Any]], *, class_: str | None = None, text: tuple[int, ...] = (0,)) -> Html:
    """A table that scrolls sideways where it is too wide; columns not in ``text`` hold numbers, to the right."""

    def cells(tag: str, row: list[Any], **more: Any) -> list[Html]:
        return [el(tag, cell, class_=None if i in text else "number", **more) for i, cell in enumerate(row)]

    body = el("tbody", [el("tr", cells("td", row)) for row in rows])
    return el("div", el("table", el("thead", el("tr", cells("th", head, scope="col"))), body, class_=class_), class_="scroll")


def bar(share: float, class_: str = "bar") -> Html:
    """A bar of a share from 0 to 1."""
    return el("span", class_=class_, style=f"width:{6 * share:.2f}rem")


def folded(title: str, content: Html) -> Html:
    """What is seen after a click; on paper always."""
    return el("details", el("summary", title), content)


def pairs(values: Mapping[str, Any]) -> Html:
    """Names and their values."""
    return el("dl", [join(el("dt", k), el("dd", v)) for k, v in values.items()])
