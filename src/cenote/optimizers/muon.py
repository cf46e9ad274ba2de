"""Muon: momentum made orthogonal for matrices, Adam for the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .adam import adam_step, corrected_rate
from .base import Optimizer, Scalars, Slots, check_betas, full_like


class Muon(Optimizer):
    """Momentum whose matrix is made orthogonal: ``p -= rate rms_rate sqrt(max(rows, columns)) orthogonal(m)``.

    ``m = momentum m + g`` (``nesterov`` uses ``g + momentum m``); a few steps of Newton and Schulz bring all its singular
    values near 1. Only for matrices: all other parameters, embedding tables (``exclude_embeddings``) and those whose path
    matches one of the regular expressions ``exclude_layers`` (name the last layer there) take Adam's step, with
    ``adam_beta_1, adam_beta_2, epsilon``, ``adam_lr_ratio`` times the rate, and ``adam_weight_decay``.
    Source: Jordan et al. 2024, github.com/KellerJordan/Muon; Liu et al. 2025, arXiv:2502.16982.

    >>> muon, params = Muon(0.1, weight_decay=None), {"w": jnp.eye(2)}
    >>> muon.update({"w": jnp.eye(2) * 5}, muon.init(params), params)[0]["w"].round(3).tolist()
    [[-0.03..., -0.0], [-0.0, -0.03...]]
    """

    slots = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **options: Any,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        check_betas(adam_beta_1=adam_beta_1, adam_beta_2=adam_beta_2)
        self.adam_beta_1, self.adam_beta_2, self.epsilon = adam_beta_1, adam_beta_2, epsilon
        self.adam_weight_decay, self.adam_lr_ratio = adam_weight_decay, adam_lr_ratio
        self.exclude_layers, self.exclude_embeddings = list(exclude_layers or ()), exclude_embeddings
        self.factors, self.ns_steps = (muon_a, muon_b, muon_c), ns_steps
        self.momentum, self.nesterov, self.rms_rate = momentum, nesterov, rms_rate

    def orthogonalized(self, path: str, p: Any) -> bool:
        """Whether a parameter takes Muon's step, not Adam's."""
        words = path.lower()
        table = self.exclude_embeddings and ("embedding" in words or words.endswith(("table", "embeddings")))
        return jnp.ndim(p) == 2 and not table and not any(re.search(word, path) for word in self.exclude_layers)

    def start(self, slot: str, p: Any, path: str) -> Any:
        return None if slot == "velocity" and self.orthogonalized(path, p) else full_like(p, 0.0)

    def usual_decay(self, path: str, p: Any) -> float | None:
        return self.weight_decay if self.orthogonalized(path, p) else self.adam_weight_decay

    def scalars(self, step: jax.Array, rate: jax.Array) -> Scalars:
        return {"rate": rate, "adam": corrected_rate(rate * self.adam_lr_ratio, step, self.adam_beta_1, self.adam_beta_2)}

    def step(self, g: jax.Array, p: jax.Array, slots: Slots, scalars: Scalars) -> tuple[jax.Array, Slots]:
        if slots["velocity"] is not None:
            return adam_step(g, slots, scalars["adam"], self.adam_beta_1, self.adam_beta_2, self.epsilon)
        m = g + self.momentum * slots["momentum"]
        change = self.orthogonal(g + self.momentum * m if self.nesterov else m)
        size = 1.0 if self.rms_rate is None else self.rms_rate * max(p.shape) ** 0.5
        return -scalars["rate"] * size * change, {"momentum": m, "velocity": None}

    def orthogonal(self, x: jax.Array) -> jax.Array:
        """Nearly the closest matrix with orthonormal rows or columns, by matrix products alone."""
        a, b, c = self.factors
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / (jnp.linalg.norm(x) + 1e-7)  # no singular value above 1
        for _ in range(self.ns_steps):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        return x.T if tall else x
