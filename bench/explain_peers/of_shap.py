"""The workloads of `explain.py` in shap. Functions are given in numpy, which is faster for these than PyTorch."""

import warnings

import numpy as np
import shap

from . import work

warnings.filterwarnings("ignore")
VERSION = shap.__version__


def prepare(workload: str, tuned: bool):
    if workload == "deepshap":
        import torch

        from .of_torch import mlp

        x, others = torch.tensor(work.rows(64, 64)), torch.tensor(work.rows(50, 64, 3))
        explainer = shap.DeepExplainer(mlp((*work.MLP[:-1], 1)), others)
        return lambda: np.asarray(explainer.shap_values(x))[..., 0]
    if workload == "exact_shapley":
        f, x, others = work.network(work.dense(work.SMALL)), work.rows(8, 10), work.rows(50, 10, 3)
        explainer = shap.explainers.Exact(f, shap.maskers.Independent(others, max_samples=len(others)))
        return lambda: explainer(x).values
    f, x, others = work.network(work.dense((*work.MLP[:-1], 1))), work.rows(8, 64), work.rows(20, 64, 3)
    if workload == "kernel_shap":
        kernel = shap.KernelExplainer(f, others)
        return lambda: kernel.shap_values(x, l1_reg=0, silent=True)  # by default it keeps ten features only
    explainer = shap.explainers.Permutation(f, shap.maskers.Independent(others, max_samples=len(others)), seed=0)
    return lambda: explainer(x, max_evals=10 * (2 * 64 + 1), silent=True).values
