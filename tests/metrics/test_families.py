"""Metrics of Keras by name and arguments; stored answers of sacrebleu, jiwer and torchmetrics; metrics in compiled loops."""

import inspect
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import cenote as cn
from cenote import losses, metrics
from cenote.core.notes import annotate, collecting

RNG = np.random.default_rng(4)
STORED = json.loads((Path(__file__).parents[1] / "parity" / "metrics.json").read_text(encoding="utf-8"))


def test_every_name_of_keras_is_here_with_its_arguments_in_order():
    for name in dir(keras.metrics):
        if name[0] == "_":
            continue
        assert hasattr(metrics, name), name
        theirs = getattr(keras.metrics, name)
        if not isinstance(theirs, type) or name == "Metric":
            continue
        expected = inspect.signature(theirs).parameters
        ours = inspect.signature(getattr(metrics, name)).parameters
        wanted = [p for p in expected if expected[p].kind is not inspect.Parameter.VAR_KEYWORD]
        assert list(ours)[: len(wanted)] == wanted, name
        for p in set(wanted) - {"name"}:
            assert ours[p].default == expected[p].default, f"{name}({p})"


@pytest.mark.parametrize("case", STORED, ids=lambda c: f"{c['metric']}-{c['options']}")
def test_answers_of_others(case):
    metric = getattr(metrics, case["metric"])(**case["options"])
    y_true, y_pred = case["y_true"], case["y_pred"]
    if isinstance(y_pred[0], str):
        for i in range(0, len(y_pred), 2):  # batches add up to the corpus
            metric.update_state(y_true[i : i + 2], y_pred[i : i + 2])
        assert metric.result() == pytest.approx(case["value"], rel=1e-9, abs=1e-9)
        metric.reset_state()
        assert metric.result() < 1e-9
    else:
        metric.update_state(np.array(y_true[:20]), np.array(y_pred[:20], "float32"))
        metric.update_state(np.array(y_true[20:]), np.array(y_pred[20:], "float32"))
        assert metric.result().item() == pytest.approx(case["value"], rel=1e-5)


def test_texts_of_weight_zero_and_lone_texts():
    metric = metrics.WordErrorRate(lowercase=True)
    metric.update_state("The cat", "the dog")
    assert metric.result().item() == 0.5
    metric.update_state(["a b"], ["c d"], sample_weight=[0.0])
    assert metric.result().item() == 0.5
    assert metrics.edit_distance([1, 2, 3, 4], [2, 3, 5]) == 2
    assert metrics.edit_distance("", "abc") == metrics.edit_distance("abc", "") == 3


def test_agreement_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    y, p = RNG.integers(0, 4, 60), RNG.dirichlet(np.ones(4), 60).astype("float32")
    found, weights = p.argmax(-1), RNG.uniform(size=60).astype("float32")
    yes = (p[:, 0] > 0.3).astype(int)
    w = {"sample_weight": weights}
    cases = [
        (metrics.MatthewsCorrelation(4), y, p, sklearn.matthews_corrcoef(y, found, **w)),
        (metrics.CohenKappa(4), y, p, sklearn.cohen_kappa_score(y, found, **w)),
        (metrics.CohenKappa(4, "linear"), y, p, sklearn.cohen_kappa_score(y, found, weights="linear", **w)),
        (metrics.CohenKappa(4, "quadratic"), y, p, sklearn.cohen_kappa_score(y, found, weights="quadratic", **w)),
        (metrics.ConfusionMatrix(4), y, p, sklearn.confusion_matrix(y, found, **w)),
        (metrics.ConfusionMatrix(4, "true"), y, p, sklearn.confusion_matrix(y, found, normalize="true", **w)),
        (metrics.ConfusionMatrix(4, "pred"), np.eye(4)[y], p, sklearn.confusion_matrix(y, found, normalize="pred", **w)),
        # Predictions may be class numbers or, of two classes, one probability.
        (metrics.ConfusionMatrix(4), y, found, sklearn.confusion_matrix(y, found, **w)),
        (metrics.ConfusionMatrix(2), yes, p[:, :1], sklearn.confusion_matrix(yes, p[:, 0] > 0.5, **w)),
        (metrics.BrierScore(), yes, p[:, 0], sklearn.brier_score_loss(yes, p[:, 0], **w)),
        (metrics.BrierScore(), y, p, np.average(((p - np.eye(4)[y]) ** 2).sum(-1), weights=weights)),
    ]
    for (_, _, _, theirs), ours in zip(cases, jax.jit(lambda w: [two_updates(*c[:3], w) for c in cases])(weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def two_updates(metric, y_true, y_pred, weights=None):
    """The value over two batches of unequal size."""
    cut = len(y_pred) // 3
    sums = metric.init()
    for rows in (slice(0, cut), slice(cut, None)):
        sums = metric.update(sums, y_true[rows], y_pred[rows], None if weights is None else weights[rows])
    return metric.compute(sums)


def test_correlation_over_examples_is_that_of_all_batches():
    x = RNG.normal(size=(50, 2)).astype("float32") + 1000
    y = x + RNG.normal(size=(50, 2)).astype("float32")
    weights = RNG.integers(0, 3, 50).astype("float32")
    repeated = np.repeat(np.concatenate([x, y], axis=1), weights.astype(int), axis=0).T
    pearson, concordance = metrics.PearsonCorrelation(axis=0), metrics.ConcordanceCorrelation(axis=0)
    pearson.build(x.shape)
    concordance.build(x[:, 0].shape)

    @jax.jit
    def run(x, y, w):
        near = two_updates(concordance, x[:, 0] - 1000, y[:, 0] - 1000)
        return two_updates(pearson, x, y, w), two_updates(pearson, x, y), near

    weighted, plain, near = run(x, y, weights)
    columns = np.corrcoef(repeated)
    np.testing.assert_allclose(weighted, (columns[0, 2] + columns[1, 3]) / 2, rtol=1e-3)
    np.testing.assert_allclose(plain, keras.metrics.PearsonCorrelation(axis=0)(x, y), rtol=1e-3)
    theirs = keras.metrics.ConcordanceCorrelation(axis=0)(x[:, :1] - 1000, y[:, :1] - 1000)
    np.testing.assert_allclose(near, theirs, rtol=1e-4)


def test_r2_far_from_zero_keeps_its_digits():
    y = 4096 + RNG.integers(0, 8, (40, 1)).astype("float32")
    p = y + RNG.normal(size=y.shape).astype("float32").round(1)
    expected = 1 - np.sum((y.astype(float) - p) ** 2) / np.sum((y.astype(float) - y.mean()) ** 2)
    metric = metrics.R2Score()
    for rows in np.split(np.arange(40), 5):
        metric.update_state(y[rows], p[rows])
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-4)


# -- in compiled loops -----------------------------------------------------------------------------------------------------

ROWS, CLASSES = 22, 5
LABELS = RNG.integers(0, CLASSES, ROWS)
ONE_HOT = np.eye(CLASSES, dtype="float32")[LABELS]
P = RNG.dirichlet(np.ones(CLASSES), ROWS).astype("float32")
SPARSE = {
    "MeanIoU": {"num_classes": CLASSES, "sparse_y_pred": False},
    "ConfusionMatrix": {"num_classes": CLASSES},
    "MatthewsCorrelation": {"num_classes": CLASSES},
    "CohenKappa": {"num_classes": CLASSES},
    "ExpectedCalibrationError": {},
    "BrierScore": {},
    "Perplexity": {"ignore_class": 1},
    "SparseCategoricalAccuracy": {},
    "SparseTopKCategoricalAccuracy": {"k": 2},
}
DENSE = {
    "AUC": {"multi_label": True},
    "Precision": {"top_k": 2},
    "TrueNegatives": {},
    "SensitivityAtSpecificity": {"specificity": 0.4},
    "F1Score": {},
    "FBetaScore": {"average": "weighted", "threshold": 0.3},
    "OneHotMeanIoU": {"num_classes": CLASSES},
    "R2Score": {},
    "PearsonCorrelation": {},
    "ConcordanceCorrelation": {"axis": 0},
    "CategoricalHinge": {},
    "KLDivergence": {},
}


def test_padded_batches_of_a_compiled_loop_add_up_to_the_whole():
    found = {n: metrics.get({"class": n, **o}, output_shape=P.shape) for n, o in {**SPARSE, **DENSE}.items()}
    found["dice"] = metrics.get(losses.Dice(axis=1))
    pad = [(0, 2), (0, 0)]
    y, p = np.pad(ONE_HOT, pad, constant_values=1), np.pad(P, pad, constant_values=np.nan)

    def targets(name, one_hot):
        return jnp.argmax(one_hot, axis=-1) if name in SPARSE else one_hot

    @jax.jit
    def epoch(y, p, w):
        def step(sums, batch):
            y, p, w = batch
            new = {n: m.update(sums[n], targets(n, y), p, w) for n, m in found.items()}
            assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(new))
            return new, None

        sums = jax.lax.scan(step, {n: m.init() for n, m in found.items()}, (y, p, w))[0]
        return {n: m.compute(sums[n]) for n, m in found.items()}

    @jax.jit
    def once(y, p):
        return {n: m.compute(m.update(m.init(), targets(n, y), p)) for n, m in found.items()}

    w = (np.arange(24) < ROWS).astype("float32")
    with jax.enable_x64(True):  # the sums stay as they are when predictions have 64 bits
        jax.eval_shape(epoch, *(np.zeros((4, 6, *a.shape[1:])) for a in (y, p, w)))
    padded, plain = epoch(y.reshape(4, 6, -1), p.reshape(4, 6, -1), w.reshape(4, 6)), once(ONE_HOT, P)
    for name in found:
        np.testing.assert_allclose(padded[name], plain[name], rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.isfinite(plain[name]).all(), name


def test_masked_positions_count_nowhere():
    mask = np.array([[True, True, False], [True, False, False]])
    y, p = LABELS[:6].reshape(2, 3), P[:6].reshape(2, 3, -1)
    one_hot = np.eye(CLASSES, dtype="float32")[y]
    cases = [
        (metrics.Perplexity(), y),
        (metrics.MeanIoU(CLASSES, sparse_y_pred=False), y),
        (metrics.ExpectedCalibrationError(), y),
        (metrics.AUC(), one_hot),
        (metrics.F1Score("micro"), one_hot),
        (metrics.Recall(0.2), one_hot),
    ]

    @jax.jit
    def run(p):
        with collecting():
            masked = annotate(p, "mask", mask)
            values = [m.compute(m.update(m.init(), y_true, masked)) for m, y_true in cases]
        return values, [m.compute(m.update(m.init(), y_true[mask], p[mask])) for m, y_true in cases]

    for (metric, _), value, alone in zip(cases, *run(p), strict=True):
        np.testing.assert_allclose(value, alone, rtol=1e-5, err_msg=metric.name)


def test_a_model_trains_and_evaluates_with_them():
    chosen = [
        metrics.F1Score("macro"),
        "r2_score",
        metrics.PearsonCorrelation(axis=0),
        metrics.AUC(multi_label=True, name="areas"),
    ]
    model = cn.Sequential([cn.layers.Dense(CLASSES, activation="softmax")])
    model.compile(loss="categorical_crossentropy", metrics=chosen)
    x = RNG.normal(size=(ROWS, 3)).astype("float32")
    model.fit(x, ONE_HOT, batch_size=8, epochs=1, verbose=0)
    logs = model.evaluate(x, ONE_HOT, batch_size=8, verbose=0, return_dict=True)
    p = np.asarray(model.predict(x, verbose=0))
    found = [metrics.get(m, output_shape=p.shape) for m in chosen]
    values = jax.jit(lambda p: [m.compute(m.update(m.init(), ONE_HOT, p)) for m in found])(p)
    for metric, value in zip(found, values, strict=True):
        np.testing.assert_allclose(logs[metric.name], value, rtol=1e-3, atol=1e-6, err_msg=metric.name)


def test_a_metric_in_use_for_one_width_is_copied_for_another():
    score = metrics.F1Score()
    assert metrics.get(score, output_shape=(8, 3)) is score
    assert metrics.get(score, output_shape=(16, 3)) is score
    wider = metrics.get(score, output_shape=(8, 5))
    assert wider is not score and len(wider.init()["right"]) == 5 and len(score.init()["right"]) == 3


def test_half_precision_is_summed_in_float32():
    y = np.ones((5000, 1), "float32")
    for dtype in (jnp.bfloat16, jnp.float16):
        p = jnp.full((5000, 1), 0.75, dtype)
        assert metrics.TruePositives()(y, p).item() == 5000
        assert metrics.MeanAbsoluteError()(y, p).item() == 0.25
        assert metrics.ConfusionMatrix(2)(y, p).tolist() == [[0, 0], [0, 5000]]
        assert metrics.F1Score("micro", threshold=0.5)(y, p).dtype == jnp.float32


NEEDED = {"num_classes": 3, "target_class_ids": [0, 2], "fn": losses.mean_squared_error} | dict.fromkeys(
    ("specificity", "sensitivity", "recall", "precision"), 0.5
)


@pytest.mark.parametrize("name", sorted(n for n in metrics.__all__ if isinstance(getattr(metrics, n), type)))
def test_metrics_travel_as_plain_values(name):
    cls = getattr(metrics, name)
    if name in ("Metric", "TextMetric"):
        return
    parameters = inspect.signature(cls).parameters
    metric = cls(**{p: v for p, v in NEEDED.items() if p in parameters and parameters[p].default is inspect.Parameter.empty})
    if all(p.default is not inspect.Parameter.empty or p.kind is p.VAR_KEYWORD for p in parameters.values()):
        assert type(metrics.get(name)) is type(metrics.get(metric.name)) is cls, "found by both its names"
    again = metrics.deserialize(json.loads(json.dumps(metrics.serialize(metric))))
    assert type(again) is cls and again.config() == json.loads(json.dumps(metric.config())) and again.name == metric.name


def test_names():
    for name, cls in {"f1_score": "F1Score", "wer": "WordErrorRate", "BLEU": "BLEU", "chrf": "ChrF", "ece": None}.items():
        assert type(metrics.get(name)).__name__ == (cls or "ExpectedCalibrationError")
        assert metrics.get(name).name == name
    assert metrics.MeanIoU(2).name == "mean_io_u"
    assert metrics.get("kl_divergence").direction == metrics.get("huber").direction == "down"
    assert metrics.get(lambda y_true, y_pred: y_pred).direction is None


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: metrics.F1Score(average="mean"), ValueError, "unknown average 'mean'"),
        (lambda: metrics.F1Score().init(), ValueError, r"number of columns is not known.*build\(\(batch, columns\)\)"),
        (lambda: metrics.F1Score()(LABELS, P), ValueError, r"np\.eye"),
        (lambda: metrics.FBetaScore(beta=0), ValueError, "beta=0 must be above 0"),
        (lambda: metrics.FBetaScore(threshold=2.0), ValueError, "threshold=2.0 must lie above 0"),
        (lambda: metrics.Precision(thresholds=[0.5, 1.5]), ValueError, "must lie between 0 and 1"),
        (lambda: metrics.PrecisionAtRecall(1.2), ValueError, "1.2 must lie between 0 and 1"),
        (lambda: metrics.RecallAtPrecision(0.5, num_thresholds=0), ValueError, "num_thresholds=0"),
        (lambda: metrics.AUC(num_labels=3), ValueError, "multi_label=True"),
        (lambda: metrics.IoU(3, [3]), ValueError, r"target_class_ids=\[3\] must be among 0 to 2"),
        (lambda: metrics.MeanIoU(CLASSES)(LABELS, P), ValueError, r"\(22, 5\) are 110: .*sparse_y_pred=False"),
        (lambda: metrics.R2Score("mean"), ValueError, "unknown class_aggregation"),
        (lambda: metrics.R2Score()(P[:, None], P[:, None]), ValueError, r"\(batch, columns\)"),
        (lambda: metrics.PearsonCorrelation()(P[:, :1], P[:, :1]), ValueError, "holds one value.*axis=0"),
        (lambda: metrics.CohenKappa(3, "cubic"), ValueError, "unknown weightage"),
        (lambda: metrics.ConfusionMatrix(3, "rows"), ValueError, "unknown normalize"),
        (lambda: metrics.ExpectedCalibrationError(norm="l3"), ValueError, "unknown norm"),
        (lambda: metrics.MeanSquaredError(dtype="bfloat16"), ValueError, "sums are kept in float32"),
        (lambda: metrics.BLEU(tokenize="ja-mecab"), ValueError, "unknown tokenize"),
        (lambda: metrics.BLEU()(["a"], ["a", "b"]), ValueError, "1 references for 2 hypotheses"),
        (lambda: metrics.BLEU()(np.zeros(3), np.zeros(3)), TypeError, "takes lists of strings, outside of compile and fit"),
        (lambda: metrics.WordErrorRate()([["a", "b"]], ["a"]), ValueError, "one reference for each hypothesis"),
    ],
)
def test_messages(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_too_few_values_for_an_adjusted_score():
    with pytest.warns(UserWarning, match="3 values are too few for num_regressors=2"):
        plain = metrics.R2Score(num_regressors=2)([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
    assert plain == metrics.R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
