"""Reports that people can read: how good a model is, where it errs, how it got there, and how to do it again.

`write` makes one self-contained HTML page of a classifier, in English or Chinese; `render` that of a `Story`, for any task;
`score` gives the numbers of classes.
"""

from .facts import Facts
from .page import render, write
from .scores import Scores, baseline, score, wilson
from .story import Story

__all__ = ["Facts", "Scores", "Story", "baseline", "render", "score", "wilson", "write"]
