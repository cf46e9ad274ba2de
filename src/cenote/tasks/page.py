"""The report of a trained model: the one place where tasks call `cenote.report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write"]


def write(
    path: Path,
    trained: Any,
    *,
    scores: Any = None,
    examples: Any = None,
    parts: Any = None,
    history: Any = None,
    language: str = "en",
    title: str = "",
    command: str = "",
    settings: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Path | None:
    """Write the page to ``path``; None comes back where there is nothing yet that could be shown of such a task.

    At hand are ``trained`` (task, preparation, answers, model), its ``job`` (parts, choice, findings, seconds, outcome), its
    scores and baselines, and its history; ``scores``, ``examples`` and ``parts`` are those of another measurement than the
    training's.
    """
    from .. import report

    job, own = trained.job, scores is None
    scores = trained.scores if own else scores
    if scores is None or "probabilities" not in scores.arrays or "labels" not in scores.arrays:
        return None
    outcome = None if job is None else job.outcome
    about = "" if job is None or not own else str(job.about.get("text", ""))
    facts = report.Facts.here(
        title=title or f"{trained.info.get('dataset', '')} · {trained.info.get('network', '')}".strip(" ·"),
        about=about,
        command=command,
        settings=settings or {},
        seconds=seconds or (job.seconds if job is not None and own else {}),
        stopped=outcome.stopped if outcome and own else "",
        interrupted=bool(outcome and own and outcome.interrupted),
        kept_epoch=outcome.kept_epoch if outcome and own else None,
    )
    shown = job.parts.test if own and job is not None else examples
    parts = job.parts if own and job is not None else parts
    labels = None
    if parts is not None and trained.answers is not None:
        named = {"training": parts.train, "validation": parts.validation, "test": parts.test}
        labels = {name: trained.answers(part.targets) for name, part in named.items() if len(part)}
    return report.write(
        path,
        scores.arrays["probabilities"],
        scores.arrays["labels"],
        classes=trained.info.get("classes"),
        pictures=_pictures(trained, shown),
        parts=labels,
        model=trained.model,
        history=trained.history if history is None else history,
        facts=facts,
        language=language,
    )


def _pictures(trained: Any, examples: Any) -> np.ndarray | None:
    """The examples as pictures, where they are."""
    if examples is None or trained.preparation.kind != "image":
        return None
    inputs = examples.inputs
    x = inputs if isinstance(inputs, np.ndarray) else trained.preparation(inputs)
    return np.asarray(x) if getattr(x, "ndim", 0) in (3, 4) else None
