"""Raw inputs explained in their own terms, through the saved preparation: columns, words, pixels, sounds, lags."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.errors import unknown
from ..core.tree import members
from ..data.arrays import count_examples, spread_rows
from ..data.examples import Examples
from .auto import explain
from .gradients import gradient
from .lookups import apart
from .method import METHODS
from .question import Score, Subject, ask, in_batches, subject_of
from .result import Explanation, joined

__all__ = ["explain_parts", "explain_raw"]

CHUNK = 256  # raw examples whose explanation is held at a time
EVALUATIONS = 3_000_000  # of the model, that a table may cost in all, before gradients are used instead
CHARACTERS = 5_000_000  # of texts with words taken out that may be prepared in all, before a linear model is taken apart
_BY_LAYER = ("attention_rollout", "gradient_attention", "grad_cam", "grad_cam_plus_plus")  # look for a layer of their own
BACKGROUND = 100  # rows of a given background that are used


def explain_raw(trained: Any, source: Any, method: str = "auto", **options: Any) -> Explanation:
    """Why a trained model answered so for raw input; see `cenote.tasks.Trained.explain`, which calls this."""
    return joined(list(explain_parts(trained, source, method, **options)))


def explain_parts(
    trained: Any,
    source: Any,
    method: str = "auto",
    *,
    target: Any = None,
    baseline: Any = None,
    background: Any = None,
    rows: int | None = None,
    **options: Any,
) -> Iterator[Explanation]:
    """The explanation of a source piece by piece, some hundred examples each, in bounded memory; ``rows``: the first ones."""
    from ..tasks.trained import names_of_inputs

    if method != "auto" and method not in METHODS:
        raise unknown("method", method, ["auto", *METHODS])
    preparation, task = trained.preparation, trained.task
    inputs = preparation.raw(source)
    everything = Examples(preparation.kind, inputs, names=names_of_inputs(source, inputs))
    count = len(everything) if rows is None else min(rows, len(everything))
    if not count:
        raise ValueError("there is nothing to explain: the source holds no example")
    chosen = _targets(trained, target, count)
    if background is not None:
        options["background"] = spread_rows(preparation(preparation.raw(background)), BACKGROUND)
    if baseline is not None:
        options["baseline"] = baseline
    explained = _KINDS.get(preparation.kind, _arrays)
    for start in range(0, count, CHUNK):
        pick = np.arange(start, min(start + CHUNK, count))
        some = everything.take(pick)
        wanted = chosen[pick] if isinstance(chosen, np.ndarray) else chosen
        found = explained(trained, some.inputs, method, total=count, target=wanted, **options)
        found.classes = _names(trained) or found.classes
        if found.kind != "audio" and _asked(trained).says == ODDS:
            found.reason += f"; numbers are {ODDS}"
            found.details["log_odds"] = True
        known = getattr(trained.model, "background", None)
        if "background" not in options and known is not None and count_examples(known) == 1:
            for one in ("the mean of one background row", "one background row"):
                found.reason = found.reason.replace(f"compared with {one}", "compared with the mean of the training examples")
        found = _in_units(trained.answers, found)
        said = task.say(task.decode(trained.model, preparation(some.inputs)), list(some.names))
        found.details["answers"], found.details["sources"] = _objects(said), _objects(list(some.names))
        yield found


# -- what is asked ---------------------------------------------------------------------------------------------------------


def _names(trained: Any) -> list[str] | None:
    names = getattr(trained.answers, "names", None)
    return None if names is None else [str(n) for n in names]


def _targets(trained: Any, target: Any, count: int) -> Any:
    """Numbers of outputs, (rows,) or one, a function of the outputs, or None: the model's own answer."""
    from ..data.series import Ahead

    answers, names = trained.answers, _names(trained)
    if answers is None or names is None:
        raise ValueError(
            f"{trained.task.name} answers with more than classes or quantities: explain a function of yours that makes one "
            f"number of what the model gives, cenote.explain.explain(function, trained.preparation(...))"
        )
    if isinstance(answers, Ahead):
        return _ahead(answers, target)
    if target is None or callable(target):
        return target
    given = list(target) if isinstance(target, (list, tuple, np.ndarray)) else [target] * count
    if len(given) != count:
        raise ValueError(f"target has {len(given)} outputs, but there are {count} examples: give one each, or one for all")
    return np.array([_number(t, names) for t in given], np.int32)


def _number(target: Any, names: list[str]) -> int:
    if isinstance(target, str):
        if target not in names:
            raise unknown("class", target, names)
        return names.index(target)
    if isinstance(target, (int, np.integer)) and -len(names) <= target < len(names):
        return int(target) % len(names)
    raise ValueError(f"there is no output {target!r}: the model has {len(names)}, {', '.join(names[:10])}")


def _ahead(answers: Any, target: Any) -> Callable:
    """A forecast's explained number: the mean over all steps ahead of one target, or ``(name, step)``, steps from 1."""
    name, step = target if isinstance(target, tuple) and len(target) == 2 else (target, None)
    if callable(target):
        return target
    number = 0 if name is None else _number(name, answers.names)
    if step is not None and not (isinstance(step, (int, np.integer)) and 1 <= step <= answers.horizon):
        raise ValueError(f"the forecast has the steps 1 to {answers.horizon}, got {step!r}")
    return _pick(number, None if step is None else int(step) - 1)


@functools.cache
def _pick(number: int, step: int | None) -> Callable:
    def pick(y: Any) -> Any:
        return y[:, :, number].mean(1) if step is None else y[:, step, number]

    pick.number, pick.step = number, step  # type: ignore[attr-defined]
    return pick


def _in_units(answers: Any, found: Explanation) -> Explanation:
    """Quantities in the units of the target, not in those of the loss."""
    from ..data.answers import Quantities

    if not isinstance(answers, Quantities) or found.target is None:
        return found
    return _scaled(found, answers.scale[found.target], answers.mean[found.target])


def _scaled(found: Explanation, scale: np.ndarray, mean: np.ndarray) -> Explanation:
    def by(array: Any) -> Any:
        return None if array is None else array * scale.reshape(-1, *(1,) * (np.ndim(array) - 1))

    values, error = (jax.tree.map(by, found.values), jax.tree.map(by, found.error))
    base = None if found.base is None else by(found.base) + mean
    return replace(found, values=values, error=error, base=base, gap=by(found.gap), output=by(found.output) + mean)


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _asked(trained: Any) -> Subject:
    """The model as it is asked: of two classes the log-odds, which no constant added to both logits can change."""
    from ..data.answers import Classes

    made = apart(subject_of(trained.model, None), "raw")
    made.inputs = trained.model
    if isinstance(trained.answers, Classes) and len(trained.answers) == 2:
        plain = made.outputs

        def outputs(weights: Any, x: Any) -> Any:
            y = plain(weights, x)
            return y - y[:, ::-1]

        made.outputs, made.says = outputs, ODDS
    return made


ODDS = "the log-odds of the class"


# -- tables ----------------------------------------------------------------------------------------------------------------


def _table(trained: Any, inputs: Any, method: str, *, total: int, target: Any, **options: Any) -> Explanation:
    """A value for each column: whatever was made of it is switched off together, or added up."""
    preparation, model = trained.preparation, trained.model
    subject, x = _asked(trained), preparation(inputs)
    groups = preparation.groups()
    index, names = _columns(x, groups), list(groups)
    note = ""
    if "baseline" not in options and "background" not in options and model.background is None:
        options["baseline"] = jax.tree.map(lambda a: np.zeros((1, *a.shape[1:]), a.dtype), x)
        note = "the baseline is a row of medians without known categories; background=some rows gives a better one"
    why = ""
    if method == "auto":
        method, why = _method_for_table(len(names), total, _others(model, options))
    if "groups" in inspect.signature(METHODS[method]).parameters and "groups" not in options:
        options["groups"] = index
    found = explain(subject, x, method, target=target, **options)
    values, error = (_summed(part, index, len(names)) for part in (found.values, found.error))
    table = preparation.raw(inputs)
    reason = "; ".join(n for n in (why, found.reason, note) if n)
    shown = np.stack([_numbers(table.columns[name]) for name in names], axis=1)
    rows = [table.row(i) for i in range(len(table))]
    details = {k: v for k, v in found.details.items() if k != "segments"}
    return replace(
        found, values=values, error=error, x=shown, names=names, raw=rows, kind="table", reason=reason, details=details
    )  # fmt: skip


def _others(model: Any, options: dict[str, Any]) -> int:
    known = options.get("background", model.background)
    return 1 if "baseline" in options or known is None else count_examples(known)


def _method_for_table(columns: int, rows: int, others: int) -> tuple[str, str]:
    if columns <= 12 and rows * others * 2**columns <= EVALUATIONS:
        return "exact_shapley", f"exact Shapley values, since there are only {columns} columns"
    if rows * others * 32 * columns <= EVALUATIONS:
        return "permutation_shapley", f"Shapley values of the {columns} columns by permutations"
    method = "deepshap" if others > 1 else "deeplift"
    return method, f"{'DeepSHAP' if others > 1 else 'DeepLIFT'}, since {rows:,} rows of {columns} columns are many"


def _columns(x: Any, groups: dict[str, list[int]]) -> Any:
    """The number of each prepared feature's column, in the form of an example; -1 for a feature of no column."""
    numbers = x["numbers"] if isinstance(x, dict) and "numbers" in x else None if isinstance(x, dict) else x
    width = 0 if numbers is None else numbers.shape[1]
    flat = np.full(1 + max(at for members in groups.values() for at in members), -1)
    for number, at in enumerate(groups.values()):
        flat[at] = number
    if not isinstance(x, dict):
        return flat
    return {"categories": flat[width:]} | ({} if numbers is None else {"numbers": flat[:width]})


def _summed(values: Any, index: Any, count: int) -> np.ndarray | None:
    """Prepared features' values added up over their columns, (rows, columns). Sums of standard errors are upper bounds."""
    if values is None:
        return None
    total: Any = 0
    for part, numbers in zip(jax.tree.leaves(values), jax.tree.leaves(index), strict=True):
        total = total + np.asarray(part, np.float64) @ (numbers[:, None] == np.arange(count))
    return total.astype(np.float32)


def _numbers(column: Any) -> np.ndarray:
    """A column's numbers, for colours; NaN for categories and missing values."""
    return np.full(len(column), np.nan) if column.numbers is None else np.asarray(column.numbers, np.float64)


# -- pictures --------------------------------------------------------------------------------------------------------------


def _image(trained: Any, inputs: Any, method: str, *, total: int, **options: Any) -> Explanation:
    found = explain(_asked(trained), trained.preparation(inputs), method, **options)
    return replace(found, kind="image", raw=None, names=None)


# -- texts -----------------------------------------------------------------------------------------------------------------


def _text(trained: Any, inputs: Any, method: str, *, total: int, target: Any, **options: Any) -> Explanation:
    preparation, texts = trained.preparation, [str(t) for t in inputs]
    spans = [preparation.spans(t) for t in texts]
    for text, found in zip(texts, spans, strict=True):
        if not found:
            raise ValueError(f"the text {text!r:.40} has no words: leave it out")
    gradients = method != "auto" and METHODS[method].gradients  # type: ignore[attr-defined]
    if preparation.tokenizer is not None:
        if method == "auto" or gradients:
            return _tokens(trained, texts, spans, "deeplift" if method == "auto" else method, target, options)
    elif method == "auto":
        effort = sum(32 * len(s) * len(t) for s, t in zip(spans, texts, strict=True)) * total / len(texts)
        if effort > CHARACTERS:
            found = _ngrams(trained, texts, spans, target)
            if float(np.max(found.completeness)) < 1e-3:  # type: ignore[arg-type]
                return found
    elif gradients:
        if method != "input_x_gradient":
            raise ValueError(
                f"a bag of n-grams has no slope that {method} could follow: take input_x_gradient, or one that takes words "
                f"out, such as permutation_shapley or lime"
            )
        return _ngrams(trained, texts, spans, target)
    from .words import explain_text

    subject = _asked(trained)
    run = subject.programs.setdefault("outputs", jax.jit(subject.outputs))

    def outputs(texts: list[str]) -> np.ndarray:
        return in_batches(lambda x: run(subject.weights, x), (preparation(texts),), 256)

    def split(text: str) -> list[str]:
        return [text[a:b] for a, b in preparation.spans(text)]

    options.pop("background", None)
    name = "permutation_shapley" if method == "auto" else method
    wanted = list(target) if isinstance(target, np.ndarray) else target
    found = explain_text(outputs, texts, name, target=wanted, split=split, **options)
    found.details["spans"] = _objects([list(s) for s in spans])
    return found


def _tokens(trained: Any, texts: list[str], spans: Any, method: str, target: Any, options: dict[str, Any]) -> Explanation:
    """A model that looks its words up, in their order: compared with an empty text."""
    x = trained.preparation(texts)
    if "baseline" not in options and "background" not in options:
        options["baseline"] = np.zeros((1, *x.shape[1:]), x.dtype)
    found = explain(_asked(trained), x, method, target=target, **options)
    longest = max(len(s) for s in spans)

    def cut(values: Any) -> Any:
        if values is None:
            return None
        wide = np.pad(values, ((0, 0), (0, max(longest - values.shape[1], 0))))
        return wide[:, :longest]

    found = replace(found, values=cut(found.values), error=cut(found.error))
    reason = "; ".join(n for n in ("compared with an empty text" if "baseline" in options else "", found.reason) if n)
    return _worded(replace(found, reason=reason), texts, spans)


def _ngrams(trained: Any, texts: list[str], spans: Any, target: Any) -> Explanation:
    """A linear model of bags of n-grams: what each n-gram adds, shared evenly among its words."""
    import time

    from ..data.text.prepare import ALWAYS

    began = time.perf_counter()
    preparation = trained.preparation
    x = preparation(texts)
    question = ask(_asked(trained), x, target=target)
    run = question.program(_added)
    # One batch size for all: what is compiled stays.
    flat = in_batches(lambda x, t: run(question.weights, x, t, ALWAYS), (question.x, question.targets), 64)
    parts, base = flat[:, 1:], flat[:, 0].astype(np.float64)
    output = question.ask(question.x)
    values = np.zeros((len(texts), max(len(s) for s in spans)), np.float32)
    for row, (text, words) in enumerate(zip(texts, spans, strict=True)):
        of = {int(n): float(v) for n, v in zip(x["numbers"][row], parts[row], strict=True) if n > ALWAYS}
        word_at = np.full(len(text) + 1, -1)
        for i, (a, b) in enumerate(words):
            word_at[a:b] = i
        places = [p for p in preparation.places(text) if p[0] in of]
        often: dict[int, int] = {}
        for number, _, _ in places:
            often[number] = often.get(number, 0) + 1
        for number, first, last in places:
            inside = np.unique(word_at[first:last])
            inside = inside[inside >= 0]
            if len(inside):
                values[row, inside] += of[number] / often[number] / len(inside)
    gap = np.abs(values.sum(1, dtype=np.float64) - (output - base))
    reason = "; ".join(
        ["the model is linear in its n-grams: what each adds is shared among its words", "compared with an empty text"]
    )
    found = Explanation(
        "input_x_gradient", values, None, output, question.targets, base, gap, reason=reason,
        seconds=time.perf_counter() - began,
    )  # fmt: skip
    return _worded(found, texts, spans)


def _added(score: Score) -> Callable:
    def run(weights: Any, x: Any, target: Any, always: Any) -> Any:
        def of(part: Any) -> Any:
            return score(weights, {**x, "weights": part}, target)

        kept = jnp.where(x["numbers"] <= always, x["weights"], 0.0)
        slopes = gradient(lambda _, part, __: of(part))(None, x["weights"], None)
        return jnp.concatenate([of(kept)[:, None], slopes * (x["weights"] - kept)], axis=1)

    return run


def _worded(found: Explanation, texts: list[str], spans: Any) -> Explanation:
    """An explanation with its texts and their words."""
    words = [[text[a:b] for a, b in s] for text, s in zip(texts, spans, strict=True)]
    longest = max(map(len, words))
    shown = np.full((len(texts), longest), "", object)
    for row, of in enumerate(words):
        shown[row, : len(of)] = of
    details = {**found.details, "words": _objects(words), "spans": _objects([list(s) for s in spans])}
    names = words[0] if len(texts) == 1 else None
    return replace(found, x=shown, raw=texts, kind="text", details=details, names=names)


# -- recordings ------------------------------------------------------------------------------------------------------------


def _audio(trained: Any, inputs: Any, method: str, *, total: int, **options: Any) -> Explanation:
    """Values of the log-mel spectrogram that the model makes, (rows, frame, band)."""
    from .layers import layer_attribution

    model, x = trained.model, trained.preparation(inputs)
    path = _spectrogram(model)
    if path is None:
        return replace(explain(model, x, method, **options), raw=None)
    gradients = sorted(n for n, one in METHODS.items() if one.gradients and n not in _BY_LAYER)  # type: ignore[attr-defined]
    if method == "auto":
        method = "deepshap" if _others(model, options) > 1 else "deeplift"
    elif method not in gradients:
        raise ValueError(
            f"{method} cannot be asked about a spectrogram, which is made inside the model: take one of {', '.join(gradients)}"
        )
    if "baseline" not in options and "background" not in options and model.background is None:
        options["baseline"] = 0.0
    found = layer_attribution(model, x, path, method, **options)
    details = {**found.details, "seconds": trained.preparation.seconds, "rate": trained.preparation.rate}
    return replace(found, kind="audio", raw=None, details=details)


def _spectrogram(model: Any) -> str | None:
    """The path of the layer that gives the finished spectrogram, (frame, band); None where there is none."""
    from .. import layers

    known = list(members(model).items())
    for place, (path, module) in enumerate(known):
        if isinstance(module, layers.MelSpectrogram):
            for after, following in known[place + 1 :]:
                if not isinstance(following, (layers.Permute, layers.Normalization)):
                    break
                path = after
            return path
    return None


# -- series ----------------------------------------------------------------------------------------------------------------


def _series(trained: Any, inputs: Any, method: str, *, total: int, target: Any, **options: Any) -> Explanation:
    """A value for each variable at each step back, and one for the calendar of the times ahead."""
    preparation, answers, model = trained.preparation, trained.answers, trained.model
    x = preparation(inputs)
    windows = preparation.raw(inputs)
    if "baseline" not in options and "background" not in options and model.background is None:
        options["baseline"] = 0.0
    found = explain(model, x, method, target=target, **options)
    number, step = getattr(target, "number", None), getattr(target, "step", None)

    def flat(values: Any) -> Any:
        if values is None:
            return None
        past = values["past"] if isinstance(values, dict) else values
        parts = [np.asarray(past).reshape(len(past), -1)]
        if isinstance(values, dict):
            parts.append(np.asarray(values["calendar"]).reshape(len(past), -1).sum(1, keepdims=True))
        return np.concatenate(parts, axis=1)

    history, variables = preparation.history, preparation.names
    names = [f"{v}, {history - i} back" for i in range(history) for v in variables]
    past = windows.past()
    shown = past.reshape(len(past), -1)
    if isinstance(x, dict):
        names.append("calendar of the times ahead")
        shown = np.concatenate([shown, np.full((len(past), 1), np.nan)], axis=1)
    details = {**found.details, "history": history, "variables": list(variables)}
    values = flat(found.values)
    found = replace(
        found, values=values, error=flat(found.error), x=shown, names=names, kind="series", raw=None, details=details
    )  # fmt: skip
    if number is None:
        return found
    said = f"{answers.names[number]}, {'mean of the forecast' if step is None else f'{step + 1} ahead'}"
    found.details["explained"] = said
    scale, mean = (np.full(len(values), a[number]) for a in (answers.scale, answers.mean))
    return _scaled(found, scale, mean)


def _arrays(trained: Any, inputs: Any, method: str, *, total: int, **options: Any) -> Explanation:
    """Any other kind of input: the prepared arrays, with the features' names."""
    names = trained.preparation.features()
    if names is not None:
        options.setdefault("names", names)
    return explain(trained.model, trained.preparation(inputs), method, **options)


_KINDS: dict[str, Callable[..., Explanation]] = {
    "table": _table, "image": _image, "text": _text, "audio": _audio, "series": _series,
}  # fmt: skip
