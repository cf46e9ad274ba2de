"""Explanations as a page: one HTML file that holds everything it shows, in English or in Chinese."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...core.errors import unknown
from ...files import write_atomically
from ...report.facts import sureness
from ...report.html import Html, document, el, join, table
from ...report.pictures import picture, value_range
from ..result import Explanation
from . import kind_of
from .maps import overlay, single
from .reasons import in_chinese
from .swarm import series, swarm
from .tables import columns, labels, strongest
from .texts import coloured, pieces

MOST = 24  # examples on a page
FEATURES = 12  # of an example that are named

WORDS = {
    "en": {
        "html_lang": "en",
        "title": "Explanation",
        "about": "What moved the model's answer. Orange raised the explained output, blue lowered it. Examples: {count}.",
        "method": "method",
        "why": "why so",
        "output": "output explained",
        "base": "compared with",
        "gap": "completeness",
        "gap_text": "the values add up to the whole difference, up to {part}",
        "no_gap": "this method does not promise that the values add up",
        "error": "sampling error",
        "error_text": "95% intervals of at most ±{error}",
        "seconds": "seconds",
        "overall": "Over all examples",
        "overall_text": "The mean size of each feature's value.",
        "one_by_one": "One by one",
        "from_to": "from {base} to {output}",
        "others": "{count} other features",
        "more": "{count} more examples are not shown here.",
        "feature": "feature",
        "size": "mean |value|",
        "swarm_text": "A dot is an example: on the right where the feature raised the output; orange where its own value is "
        "high, blue where it is low, grey where it has no order.",
        "series_text": "The line is the past; the bars below say what each step did to the forecast. Times run to the right.",
        "audio_text": "Time runs to the right, pitch upwards: the spectrogram as the model sees it, and what mattered in it.",
        "image_text": "Above 64 pixels a side the values are smoothed for the eye; sums are of the values themselves.",
        "towards": "All towards {name}.",
        "command": "command",
        "answer": "answer",
        "place": "part",
    },
    "zh": {
        "html_lang": "zh-CN",
        "title": "解释",
        "about": "是什么左右了模型对 {count} 个样本的回答。橙色推高了所解释的输出，蓝色压低了它。",
        "method": "方法",
        "why": "选择理由",
        "output": "所解释的输出",
        "base": "比较基准",
        "gap": "完备性",
        "gap_text": "各项数值之和等于全部差值，误差不超过 {part}",
        "no_gap": "该方法不保证各项数值之和等于差值",
        "error": "抽样误差",
        "error_text": "95% 区间最多 ±{error}",
        "seconds": "用时（秒）",
        "overall": "全部样本",
        "overall_text": "各特征数值绝对值的平均。",
        "one_by_one": "逐个样本",
        "from_to": "从 {base} 到 {output}",
        "others": "其余 {count} 个特征",
        "more": "另有 {count} 个样本未在此显示。",
        "feature": "特征",
        "size": "平均绝对值",
        "swarm_text": "每个点是一个样本：在右侧表示该特征推高了输出；橙色表示特征值高，蓝色表示低，灰色表示没有大小顺序。",
        "series_text": "折线是过去的数值；下方的条形表示每一步对预测的影响。时间从左到右。",
        "audio_text": "时间从左到右，音高从下到上：模型所见的声谱图，以及其中起作用的部分。",
        "image_text": "边长超过 64 像素的图片，数值为便于观看而平滑；求和与表格用的是原始数值。",
        "towards": "全部朝向“{name}”。",
        "command": "命令",
        "answer": "回答",
        "place": "部分",
    },
}


STYLE = """
svg.swarm { display: block; width: 100%; max-width: 46rem; height: auto; margin: .4rem 0 .8rem; }
.scroll > svg.swarm { min-width: 30rem; }
.values .track { align-self: center; width: 100%; height: 1.35rem; }
h3 > .soft { display: block; font-weight: 400; }
.examples .pair img { image-rendering: auto; } .examples .pair img.pixels { image-rendering: pixelated; }
.examples .pair.high { grid-template-columns: 1fr; } .examples .pair.high img { aspect-ratio: 5 / 2; }
"""


def write(path: str | os.PathLike, found: Explanation, *, title: str = "", language: str = "en", command: str = "") -> Path:
    """Write an explanation as one HTML file: what was asked, how far to trust it, all examples together and one by one.

    Raises: ValueError for an unknown language; OSError if the file cannot be written.

    >>> import tempfile
    >>> from cenote import explain
    >>> found = explain.saliency(lambda x: 3 * x[:, 0] - x[:, 1], np.ones((2, 2), "float32"), names=["age", "fare"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     "age" in write(folder + "/why.html", found).read_text("utf-8")
    True
    """
    if language not in WORDS:
        raise unknown("language", language, list(WORDS))
    words = WORDS[language]
    name = f"{title}: {words['title']}" if title else words["title"]
    head = el(
        "header", el("style", Html(STYLE)), el("h1", name), el("p", words["about"].format(count=len(found)), class_="soft")
    )
    foot = el("footer", f"{words['command']}: ", el("code", command)) if command else Html("")
    return write_atomically(path, document(name, [head, *sections(found, words), foot], words["html_lang"]).encode("utf-8"))


def fragment(found: Explanation) -> str:
    """The first examples, for a notebook, which has no style sheet of ours."""
    style = Path(__file__).parents[2].joinpath("report", "style.css").read_text("utf-8")
    scoped = style[style.index(".values {") :]
    colors = "--card:#f6f8fa;--wrong:214,69,37"
    words = WORDS["en"]
    return el(
        "div",
        el("style", Html(scoped)),
        certificate(found, words),
        one_by_one(found[: min(len(found), 4)], words),
        style=colors,
    )


def sections(found: Explanation, words: dict[str, str]) -> list[Html]:
    """The parts of a page about one explanation."""
    parts = [el("section", certificate(found, words))]
    if kind_of(found) == "table" and len(found) > 1:
        one = towards_one(found)
        drawn = swarm(one, words, FEATURES) if len(found) >= 5 and one is not None else None
        text = el("p", words["overall_text"], class_="soft")
        parts.append(el("section", el("h2", words["overall"]), drawn, text, overall(found, words)))
    shown = found[: min(len(found), MOST)]
    more = el("p", words["more"].format(count=len(found) - MOST), class_="soft") if len(found) > MOST else None
    parts.append(el("section", el("h2", words["one_by_one"]), one_by_one(shown, words), more))
    return parts


def towards_one(found: Explanation) -> Explanation | None:
    """All rows about one output; log-odds of two classes are turned round for it. None where rows are about different ones."""
    if found.target is None or len(np.unique(found.target)) == 1:
        return found
    if not found.details.get("log_odds"):
        return None
    sign = np.where(np.asarray(found.target) == 1, 1.0, -1.0)
    values = np.asarray(found.values) * sign[:, None]
    return replace(found, values=values, output=found.output * sign, target=np.ones(len(found), np.int32))


def certificate(found: Explanation, words: dict[str, str]) -> Html:
    """How the explanation was made, and how far it can be trusted."""
    rows: list[tuple[str, Any]] = [(words["method"], found.method.replace("_", " "))]
    if found.reason:
        rows.append((words["why"], in_chinese(found.reason) if words["html_lang"] == "zh-CN" else found.reason))
    part = found.completeness
    rows.append((words["gap"], words["no_gap"] if part is None else words["gap_text"].format(part=f"{float(part.max()):.1g}")))
    if found.error is not None:
        worst = max(float(np.max(e)) for e in jax.tree.leaves(found.error))
        rows.append((words["error"], words["error_text"].format(error=f"{1.96 * worst:.2g}")))
    rows.append((words["seconds"], f"{found.seconds:.2g}"))
    return el("dl", [[el("dt", a), el("dd", b)] for a, b in rows])


def overall(found: Explanation, words: dict[str, str]) -> Html:
    values, _, names = columns(found)
    sizes = np.abs(values).mean(0)
    order = np.argsort(-sizes, kind="stable")[:FEATURES]
    return table([words["feature"], words["size"]], [[names[i], f"{sizes[i]:.4g}"] for i in order])


def one_by_one(found: Explanation, words: dict[str, str]) -> Html:
    """Each example in the form that suits it."""
    kind = kind_of(found)
    if kind in ("image", "audio"):
        large = kind == "image" and min(np.shape(jax.tree.leaves(found.values)[0])[1:3]) > 64
        text = words["audio_text"] if kind == "audio" else words["image_text"] if large else ""
        about = el("p", text, class_="soft") if text else None
        return join(about, el("div", [_picture(found, i, words) for i in range(len(found))], class_="examples"))
    if kind == "series":
        return el(
            "div",
            [
                join(el("h3", _head(found, i, words)), series(found, i, words), _bars(found, i, words))
                for i in range(len(found))
            ],
        )
    if kind == "text":
        return el("div", [join(el("h3", _head(found, i, words)), coloured(pieces(found, i))) for i in range(len(found))])
    return el("div", [join(el("h3", _head(found, i, words)), _bars(found, i, words)) for i in range(len(found))])


def _head(found: Explanation, row: int, words: dict[str, str]) -> Html:
    output = f"{float(found.output[row]):.4g}"
    said = output if found.base is None else words["from_to"].format(base=f"{float(found.base[row]):.4g}", output=output)
    return join(f"{found.said(row)}: {said}", _answer(found, row, words))


def _answer(found: Explanation, row: int, words: dict[str, str]) -> Html | None:
    """Where the example came from, and what the model said of it, as far as that is known."""
    sources, answers = found.details.get("sources"), found.details.get("answers")
    if sources is None or answers is None:
        return None
    answer = answers[row]
    label = str(answer.get("label", ""))
    if "probability" in answer:
        label += f" {sureness(answer['probability'])}"
    elif "value" in answer:
        label = f"{answer['value']:.6g}"
    source = str(sources[row])
    name = source if kind_of(found) in ("table", "series") else "" if kind_of(found) == "text" else source.rsplit("/", 1)[-1]
    said = " · ".join(part for part in (name, f"{words['answer']}: {label}" if label else "") if part)
    return el("span", said, class_="soft") if said else None


def _picture(found: Explanation, row: int, words: dict[str, str]) -> Html:
    values, x = single(found)
    turn = (lambda a: np.flip(np.swapaxes(a, 0, 1), 0)) if found.kind == "audio" else (lambda a: a)
    shown = []
    if x is not None:
        shown.append(picture(turn(np.asarray(x[row])), value_range(np.asarray(x[row])), alt=f"{row}"))
    heat = overlay(values[row], None if x is None else x[row])
    shown.append(picture(turn(heat), (0.0, 1.0), alt=found.said(row)))
    name = found.raw[row].rsplit("/", 1)[-1] if isinstance(found.raw, list) and isinstance(found.raw[row], str) else None
    told = _answer(found, row, words)
    caption = el("figcaption", el("b", found.said(row)), f" {float(found.output[row]):.3g}", el("br"), told or name)
    return el("figure", el("div", shown, class_="pair high" if found.kind == "audio" else "pair"), caption)


def _bars(found: Explanation, row: int, words: dict[str, str]) -> Html:
    values, _, _ = columns(found)
    steps, names, _ = strongest(values[row], labels(found, row), FEATURES)
    if len(steps) > FEATURES:
        names[-1] = words["others"].format(count=values.shape[1] - FEATURES)
    top = max(float(np.abs(steps).max(initial=0.0)), 1e-30)
    low, high = min(0.0, float(steps.min(initial=0.0))), max(0.0, float(steps.max(initial=0.0)))
    span = (high - low) or top
    cells: list[Html] = []
    for name, step in zip(names, steps, strict=True):
        left = 100 * (min(step, 0.0) - low) / span
        bar = el("i", class_="up" if step > 0 else "down", style=f"left:{left:.1f}%;width:{100 * abs(step) / span:.1f}%")
        cells += [el("span", name), el("span", bar, class_="track"), el("span", f"{step:+.3g}", class_="number")]
    return el("div", cells, class_="values")
