"""What is explained, for all libraries alike: weights, inputs and functions in numpy, drawn from one seed."""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass
class Work:
    says: str
    peers: list[str]
    near: float  # how far the answers may differ, as a part of the largest value


EXACT, SAMPLED = 1e-3, 0.3
WORKLOADS = {
    "ig_mlp": Work("Integrated Gradients, 50 nodes, MLP 64-128-64-10, 512 rows", ["captum", "captum-tuned"], EXACT),
    "ig_cnn": Work("Integrated Gradients, 50 nodes, CNN 28x28, 64 rows", ["captum", "captum-tuned"], EXACT),
    "deeplift": Work("DeepLIFT, CNN 28x28, 64 rows", ["captum"], EXACT),
    "deepshap": Work("DeepSHAP, MLP 64-128-64-1, 64 rows, 50 background rows", ["captum", "shap"], EXACT),
    "exact_shapley": Work("exact Shapley values, 10 features, 50 background rows, 8 rows", ["shap"], EXACT),
    "kernel_shap": Work("KernelSHAP, 64 features, 2176 coalitions, 20 background rows, 8 rows", ["shap"], SAMPLED),
    "permutation_shapley": Work(
        "Shapley values by 10 permutations, 64 features, 20 background rows, 8 rows", ["shap"], SAMPLED
    ),
    "lime_table": Work("LIME, 10 features, 5000 samples around each of 8 rows", ["lime"], SAMPLED),
    "lime_text": Work("LIME, 4 texts of 40 words, 1000 samples each", ["lime"], SAMPLED),
    "occlusion": Work("occlusion, windows of 4x4 by steps of 2, CNN 28x28, 64 rows", ["captum", "captum-tuned"], EXACT),
    "grad_cam": Work("Grad-CAM of the last convolution, CNN 28x28, 64 rows", ["captum"], EXACT),
    "permutation_importance": Work("permutation importance by R2, 10 features, 5 repeats, 4000 rows", ["sklearn"], SAMPLED),
}
TARGET, BLACK = 0, 0.0
MLP, SMALL = (64, 128, 64, 10), (10, 32, 16, 1)


def drawn(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype("float32")


def dense(sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Kernels (in, out) and biases of an MLP with ReLU, then tanh, then nothing."""
    weights = []
    for number, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights += [drawn(10 + number, a, b, scale=a**-0.5), drawn(20 + number, b, scale=0.1)]
    return weights


def convolutions() -> list[np.ndarray]:
    """Of 28x28x1 -> 26x26x8 -> 12x12x16 -> 10: kernels (height, width, in, out), the last (in, out)."""
    return [
        *(drawn(30, 3, 3, 1, 8, scale=0.4), drawn(31, 8, scale=0.1)),
        *(drawn(32, 3, 3, 8, 16, scale=0.15), drawn(33, 16, scale=0.1)),
        *(drawn(34, 12 * 12 * 16, 10, scale=0.02), drawn(35, 10, scale=0.1)),
    ]


def pictures() -> np.ndarray:
    return np.abs(drawn(1, 64, 28, 28, 1))


def rows(count: int, features: int, seed: int = 2) -> np.ndarray:
    return drawn(seed, count, features)


def network(weights: list[np.ndarray]):
    """The MLP as a function of numpy arrays, its one explained output: (rows,)."""
    w1, b1, w2, b2, w3, b3 = weights

    def run(x: np.ndarray) -> np.ndarray:
        hidden = np.tanh(np.maximum(np.asarray(x, "float32") @ w1 + b1, 0) @ w2 + b2)
        return (hidden @ w3 + b3)[:, TARGET]

    return run


VOCABULARY = [f"word{n}" for n in range(200)]


def texts() -> list[str]:
    draw = np.random.default_rng(5)
    return [" ".join(draw.choice(VOCABULARY, 40, replace=False)) for _ in range(4)]


def probabilities(said) -> np.ndarray:
    """(texts, 2): a logistic function of which words are there."""
    weight = dict(zip(VOCABULARY, np.random.default_rng(6).normal(size=len(VOCABULARY)) * 0.2, strict=True))
    score = np.array([sum(weight.get(word, 0.0) for word in set(text.split())) for text in said])
    p = 1 / (1 + np.exp(-score))
    return np.stack([1 - p, p], axis=1)


def targets() -> np.ndarray:
    """What the MLP says of the rows of the permutation importance, with noise."""
    x = rows(4000, SMALL[0], 7)
    return network(dense(SMALL))(x) + drawn(8, 4000, scale=0.1)
