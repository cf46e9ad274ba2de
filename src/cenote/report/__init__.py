"""Reports that people can read: how good a classifier is, where it errs, how it got there, and how to do it again.

`write` makes one self-contained HTML page, in English or Chinese; `score` gives the numbers in it.
"""

from .facts import Facts
from .page import write
from .scores import Scores, baseline, score, wilson

__all__ = ["Facts", "Scores", "baseline", "score", "wilson", "write"]
