"""The workloads of `explain.py` in Cenote."""

import numpy as np

import cenote
from cenote import Sequential, explain, layers

from . import work

VERSION = cenote.__version__


def mlp(sizes: tuple[int, ...]) -> Sequential:
    parts = [layers.Dense(sizes[1], "relu"), layers.Dense(sizes[2], "tanh"), layers.Dense(sizes[3])]
    model = Sequential(parts).build(np.zeros((1, sizes[0]), "float32"))
    model.set_weights(work.dense(sizes))
    return model


def cnn() -> Sequential:
    parts = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(16, 3, strides=2, activation="relu")]
    model = Sequential([*parts, layers.Flatten(), layers.Dense(10)]).build(work.pictures()[:1])
    model.set_weights(work.convolutions())
    return model


def prepare(workload: str, tuned: bool):
    chosen = {"target": work.TARGET, "progress": False}
    if workload in ("ig_cnn", "deeplift", "occlusion", "grad_cam"):
        model, x = cnn(), work.pictures()
        if workload == "ig_cnn":
            return lambda: explain.integrated_gradients(model, x, baseline=work.BLACK, nodes=50, **chosen).values
        if workload == "deeplift":
            return lambda: explain.deeplift(model, x, baseline=work.BLACK, **chosen).values
        if workload == "occlusion":
            return lambda: explain.occlusion(model, x, baseline=work.BLACK, window=4, stride=2, **chosen).values
        return lambda: explain.grad_cam(model, x, relu=False, **chosen).details["map"]
    if workload == "ig_mlp":
        model, x = mlp(work.MLP), work.rows(512, 64)
        return lambda: explain.integrated_gradients(model, x, baseline=0.0, nodes=50, batch_size=512, **chosen).values
    if workload == "deepshap":
        model, x, others = mlp((*work.MLP[:-1], 1)), work.rows(64, 64), work.rows(50, 64, 3)
        return lambda: explain.deepshap(model, x, background=others, **chosen).values
    if workload in ("kernel_shap", "permutation_shapley"):
        model, x, others = mlp((*work.MLP[:-1], 1)), work.rows(8, 64), work.rows(20, 64, 3)
        if workload == "kernel_shap":
            return lambda: explain.kernel_shap(model, x, background=others, **chosen).values
        return lambda: explain.permutation_shapley(model, x, background=others, permutations=10, **chosen).values
    if workload == "lime_text":
        said, f = work.texts(), work.probabilities
        return lambda: explain.explain_text(f, said, "lime", target=1, samples=1000, insist=True, progress=False).values
    model, x, others = mlp(work.SMALL), work.rows(8, 10), work.rows(50, 10, 3)
    if workload == "exact_shapley":
        return lambda: explain.exact_shapley(model, x, background=others, **chosen).values
    if workload == "lime_table":
        return lambda: explain.lime(model, x, background=others, insist=True, **chosen).values
    x, y = work.rows(4000, 10, 7), work.targets()[:, None]
    return lambda: explain.permutation_importance(model, x, y, metric="r2_score", repeats=5).values
