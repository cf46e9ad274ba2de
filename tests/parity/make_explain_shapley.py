"""shap's and lime's answers for a small network: writes explain_shapley.json. Run by hand (needs shap and lime)."""

import json
from pathlib import Path

import lime
import lime.lime_tabular
import lime.lime_text
import numpy as np
import shap

RNG = np.random.default_rng(11)
FEATURES, ROWS, BACKGROUND = 10, 4, 50


def normal(*shape):
    return RNG.normal(size=shape).round(3)


X, B = normal(ROWS, FEATURES), normal(BACKGROUND, FEATURES)
W1, B1, W2, W3 = normal(FEATURES, 8) / 2, normal(8), normal(8, 6), normal(6) / 2


def network(x):
    return np.tanh(np.maximum(x @ W1 + B1, 0) @ W2) @ W3


def smooth(x):
    """Nearly linear within a standard deviation: what a linear surrogate can imitate."""
    return np.tanh((x @ W1 + B1) / 4) @ W3[[0, 1, 2, 3, 4, 5, 0, 1]]


WORDS = ["the", "film", "was", "not", "good", "but", "the", "end", "was", "a", "surprise"]


def texts(said):
    """Weights of words, and one interaction."""
    rows = []
    for text in said:
        words = text.split()
        score = 0.8 * ("good" in words) - 0.3 * ("but" in words) + 0.5 * ("surprise" in words)
        score -= 1.1 * ("good" in words and "not" in words)
        rows.append([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))])
    return np.array(rows)


masker = shap.maskers.Independent(B, max_samples=BACKGROUND)
exact = shap.explainers.Exact(network, masker)
found = exact(X)
pairs = exact(X, interactions=2)
kernel = shap.KernelExplainer(network, B)
listed = kernel.shap_values(X, nsamples=2**FEATURES, l1_reg=0, silent=True)
some = kernel.shap_values(X, nsamples=300, l1_reg=0, silent=True)
linear = shap.KernelExplainer(lambda x: x @ W1[:, 0], B).shap_values(X, nsamples=300, l1_reg=0, silent=True)
orders = shap.explainers.Permutation(network, masker, seed=1)(X, max_evals=20 * (2 * FEATURES + 1))

tabular = lime.lime_tabular.LimeTabularExplainer(
    B, mode="regression", discretize_continuous=False, sample_around_instance=True, random_state=3
)
near = []
for row in X:
    said = tabular.explain_instance(row, smooth, num_features=FEATURES, num_samples=50000)
    near.append([dict(said.as_map()[1])[i] for i in range(FEATURES)])  # [1]: the true weights; [0] are negated
    r2 = said.score
text = lime.lime_text.LimeTextExplainer(bow=False, random_state=4)
said = text.explain_instance(" ".join(WORDS), texts, num_features=len(WORDS), num_samples=20000, labels=(1,))
of_words = [dict(said.as_map()[1])[i] for i in range(len(WORDS))]


def listed_rounded(array, digits=7):
    return np.round(np.asarray(array, np.float64), digits).tolist()


answers = {
    "shap": shap.__version__,
    "lime": "0.2.0.1",
    "x": X.tolist(),
    "background": B.tolist(),
    "weights": [a.tolist() for a in (W1, B1, W2, W3)],
    "exact": listed_rounded(found.values),
    "base": listed_rounded(found.base_values),
    "interactions": listed_rounded(pairs.values),
    "kernel_all": listed_rounded(listed),
    "kernel_300": listed_rounded(some),
    "kernel_linear": listed_rounded(linear),
    "permutation": listed_rounded(orders.values),
    "lime_table": listed_rounded(near, 5),
    "lime_table_r2": round(float(r2), 4),
    "words": WORDS,
    "lime_text": listed_rounded(of_words, 5),
    "lime_text_r2": round(float(said.score), 4),
}
target = Path(__file__).with_name("explain_shapley.json")
target.write_text(json.dumps(answers) + "\n")
print(target, target.stat().st_size, "bytes")
