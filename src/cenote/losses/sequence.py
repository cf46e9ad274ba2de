"""The loss of label sequences without an alignment: connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from cenote.core.notes import annotation, graph_function
from cenote.kernels.ctc import ctc_loss

from .base import FunctionLoss
from .functions import real


@graph_function
def ctc(
    y_true: Any,
    y_pred: Any,
    blank: int = 0,
    zero_infinity: bool = False,
    label_length: Any = None,
    logit_length: Any = None,
) -> jax.Array:
    """``-log p(y | x)``, p summed over all alignments of the labels y with the frames x (logits; they get a softmax).

    Labels are padded at their end by ``blank`` (or -1), unless ``label_length`` says how many there are. Frames count up to
    ``logit_length``, or up to the mask that the prediction carries, or all. Where the frames are too few for the labels
    the loss is infinite and its slope zero; ``zero_infinity`` makes such losses zero.
    Shapes: y_true (batch, labels), y_pred (batch, time, classes), lengths (batch,).
    Raises: ValueError for other shapes, and for a blank that is no class.
    Source: Graves et al. 2006, ICML.

    >>> ctc([[1, 0]], jnp.zeros((1, 2, 2))).tolist()
    [0.287682...]
    """
    mask = annotation(y_pred, "mask")
    labels, x = jnp.asarray(y_true), real(y_pred)
    if labels.ndim != 2 or x.ndim != 3 or labels.shape[0] != x.shape[0]:
        raise ValueError(
            f"ctc: needs labels (batch, labels) and logits (batch, time, classes), got shapes {labels.shape} and {x.shape}"
        )
    if not 0 <= blank < x.shape[-1]:
        raise ValueError(f"ctc: blank={blank} is no class of {x.shape[-1]}: give the number of the class that means no label")
    if label_length is None:
        label_length = jnp.sum((labels != blank) & (labels >= 0), axis=1)
    if logit_length is None:
        logit_length = jnp.full(x.shape[:1], x.shape[1]) if mask is None else jnp.sum(jnp.asarray(mask) != 0, axis=1)
    log_p = jax.nn.log_softmax(x, axis=-1)
    values = ctc_loss(log_p, labels, jnp.asarray(logit_length), jnp.asarray(label_length), blank)
    return jnp.where(jnp.isinf(values), 0, values) if zero_infinity else values


class CTC(FunctionLoss):
    """Label sequences without an alignment: see `ctc`."""

    function = staticmethod(ctc)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        blank: int = 0,
        zero_infinity: bool = False,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype, blank=blank, zero_infinity=zero_infinity)

    def mask(self, y_true: Any, y_pred: Any) -> Any:
        return None  # the mask of the frames says how many there are
