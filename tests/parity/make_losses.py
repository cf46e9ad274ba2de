"""PyTorch's answers for losses that Keras lacks, and for CTC: writes losses.json. Run by hand (needs torch)."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

RNG = np.random.default_rng(7)
BATCH, CLASSES, FEATURES = 6, 5, 4


def normal(*shape):
    return RNG.normal(size=shape).round(3)


SCORES = 2 * normal(BATCH, CLASSES)
LABELS = RNG.integers(0, CLASSES, BATCH)
IGNORED = np.where(np.arange(BATCH) == 2, -100, LABELS)
BITS = RNG.integers(0, 2, (BATCH, CLASSES))
SIGNS = 2 * BITS - 1
YES = np.array([1, -1, 1, 1, -1, -1])
WEIGHTS = RNG.uniform(0.2, 2.0, CLASSES).round(3)
PAIRS, TRIPLES = normal(BATCH, 2, FEATURES), normal(BATCH, 3, FEATURES)
COUNTS = RNG.poisson(3.0, (BATCH, CLASSES))
DISTANCES = np.abs(normal(BATCH, CLASSES))
VARIANCES = RNG.uniform(0.1, 2.0, (BATCH, CLASSES)).round(3)
VARIANCES[0, 0] = 1e-9
LOGITS = 2 * normal(BATCH, 7, CLASSES)
CTC_LABELS = np.array([[1, 2, 2], [3, 3, 3], [1, 0, 0], [4, 1, 0], [2, 4, 1], [0, 0, 0]])
LABEL_LENGTHS = np.array([3, 3, 1, 2, 3, 0])
LOGIT_LENGTHS = np.array([7, 4, 1, 5, 3, 6])  # the second needs 5 frames: no alignment
LAST_BLANK = np.array([[1, 2, 2], [0, 0, 0], [1, 4, 4], [3, 1, 4], [2, 3, 1], [4, 4, 4]])


def indices(bits):
    """PyTorch's lists of class numbers, ended by -1."""
    return np.stack([np.concatenate([np.flatnonzero(b), np.full(CLASSES, -1)])[:CLASSES] for b in bits])


def t(x):
    return torch.tensor(np.asarray(x))


def ctc(x, labels, blank=0, **options):
    return F.ctc_loss(
        x.log_softmax(-1).transpose(0, 1), t(labels), t(LOGIT_LENGTHS), t(LABEL_LENGTHS), blank, reduction="none", **options
    )


# name of ours, options of ours, target, prediction, PyTorch's function of the prediction; a scalar is PyTorch's "mean".
CASES = [
    (
        "smooth_l1",
        {"beta": 0.7},
        BITS,
        SCORES,
        lambda x: F.smooth_l1_loss(x, t(1.0 * BITS), beta=0.7, reduction="none").mean(-1),
    ),
    ("soft_margin", {}, SIGNS, SCORES, lambda x: F.soft_margin_loss(x, t(1.0 * SIGNS), reduction="none").mean(-1)),
    (
        "hinge_embedding",
        {"margin": 1.3},
        SIGNS,
        DISTANCES,
        lambda x: F.hinge_embedding_loss(x, t(SIGNS), margin=1.3, reduction="none").mean(-1),
    ),
    (
        "margin_ranking",
        {"margin": 0.3},
        YES,
        PAIRS[..., 0],
        lambda x: F.margin_ranking_loss(x[:, 0], x[:, 1], t(YES), margin=0.3, reduction="none"),
    ),
    ("multi_margin", {}, LABELS, SCORES, lambda x: F.multi_margin_loss(x, t(LABELS), reduction="none")),
    (
        "multi_margin",
        {"p": 2, "margin": 0.8, "class_weights": WEIGHTS.tolist()},
        LABELS,
        SCORES,
        lambda x: F.multi_margin_loss(x, t(LABELS), p=2, margin=0.8, weight=t(WEIGHTS), reduction="none"),
    ),
    ("multi_label_margin", {}, BITS, SCORES, lambda x: F.multilabel_margin_loss(x, t(indices(BITS)), reduction="none")),
    (
        "multi_label_soft_margin",
        {"class_weights": WEIGHTS.tolist()},
        BITS,
        SCORES,
        lambda x: F.multilabel_soft_margin_loss(x, t(1.0 * BITS), weight=t(WEIGHTS), reduction="none"),
    ),
    (
        "cosine_embedding",
        {"margin": 0.1},
        YES,
        PAIRS,
        lambda x: F.cosine_embedding_loss(x[:, 0], x[:, 1], t(YES), margin=0.1, reduction="none"),
    ),
    *(
        (
            "triplet_margin",
            options,
            YES,
            TRIPLES,
            lambda x, options=options: F.triplet_margin_loss(x[:, 0], x[:, 1], x[:, 2], reduction="none", **options),
        )
        for options in ({}, {"margin": 0.5, "swap": True}, {"p": 1.0}, {"p": 3.0})
    ),
    *(
        (
            "gaussian_nll",
            {"full": full},
            COUNTS,
            np.concatenate([SCORES, VARIANCES], -1),
            lambda x, full=full: F.gaussian_nll_loss(
                x[:, :CLASSES], t(1.0 * COUNTS), x[:, CLASSES:], full=full, reduction="none"
            ).mean(-1),
        )
        for full in (False, True)
    ),
    ("poisson_nll", {}, COUNTS, SCORES, lambda x: F.poisson_nll_loss(x, t(1.0 * COUNTS), reduction="none").mean(-1)),
    (
        "poisson_nll",
        {"log_input": False, "full": True},
        COUNTS,
        DISTANCES,
        lambda x: F.poisson_nll_loss(x, t(1.0 * COUNTS), log_input=False, full=True, reduction="none").mean(-1),
    ),
    (
        "binary_crossentropy",
        {"from_logits": True, "pos_weight": WEIGHTS.tolist()},
        BITS,
        SCORES,
        lambda x: F.binary_cross_entropy_with_logits(x, t(1.0 * BITS), pos_weight=t(WEIGHTS), reduction="none").mean(-1),
    ),
    *(
        (
            "SparseCategoricalCrossentropy",
            {"from_logits": True, "reduction": "mean_with_sample_weight", "ignore_class": -100, **ours},
            IGNORED,
            SCORES,
            lambda x, theirs=theirs: F.cross_entropy(x, t(IGNORED), **theirs),
        )
        for ours, theirs in (
            ({"class_weights": WEIGHTS.tolist()}, {"weight": t(WEIGHTS)}),
            ({"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
            ({"class_weights": WEIGHTS.tolist(), "label_smoothing": 0.1}, {"weight": t(WEIGHTS), "label_smoothing": 0.1}),
        )
    ),
    (
        "CategoricalCrossentropy",
        {"from_logits": True, "reduction": "mean_with_sample_weight", "class_weights": WEIGHTS.tolist()},
        np.eye(CLASSES)[LABELS],
        SCORES,
        lambda x: F.cross_entropy(x, t(LABELS), weight=t(WEIGHTS)),
    ),
    (
        "ctc",
        {"label_length": LABEL_LENGTHS.tolist(), "logit_length": LOGIT_LENGTHS.tolist(), "zero_infinity": True},
        CTC_LABELS,
        LOGITS,
        lambda x: ctc(x, CTC_LABELS, zero_infinity=True),
    ),
    (
        "ctc",
        {"blank": 4, "label_length": LABEL_LENGTHS.tolist(), "logit_length": LOGIT_LENGTHS.tolist(), "zero_infinity": True},
        LAST_BLANK,
        LOGITS,
        lambda x: ctc(x, LAST_BLANK, blank=4, zero_infinity=True),
    ),
    (
        "info_nce",
        {"temperature": 0.2},
        YES,
        PAIRS,
        lambda x: F.cross_entropy(F.normalize(x[:, 0]) @ F.normalize(x[:, 1]).T / 0.2, torch.arange(BATCH), reduction="none"),
    ),
]


def main():
    found = []
    for name, options, y_true, y_pred, function in CASES:
        x = torch.tensor(np.asarray(y_pred, "float64"), requires_grad=True)
        values = function(x)
        upstream = torch.arange(1.0, values.numel() + 1, dtype=torch.float64).reshape(values.shape)
        (values * upstream).sum().backward()
        found.append(
            {
                "loss": name,
                "options": options,
                "y_true": np.asarray(y_true).tolist(),
                "y_pred": np.asarray(y_pred).tolist(),
                "values": np.float32(values.detach().numpy()).tolist(),
                "slope": [float(f"{v:.7g}") for v in x.grad.flatten().tolist()],
            }
        )
    text = "[\n" + ",\n".join(json.dumps(case) for case in found) + "\n]\n"
    Path(__file__).with_name("losses.json").write_text(text)


if __name__ == "__main__":
    main()
