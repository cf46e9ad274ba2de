"""Objects that are written down as plain values and found again by name."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from cenote import constraints, initializers, losses, metrics, optimizers, regularizers, schedules
from cenote.core.configurable import Configurable, named_function, plain, resolve


class Shift(Configurable):
    def __init__(self, by: float = 1.0, **options):
        self.by, self.options = by, options


FAMILIES = {
    initializers: [
        initializers.GlorotUniform(seed=3),
        initializers.VarianceScaling(2.0, "fan_out", "uniform", input_axes=(0,), output_axes=(1,)),
        initializers.Constant(np.array([1.0, 2.0], "float32")),
        initializers.STFT("imag", "hamming"),
    ],
    regularizers: [regularizers.L1(0.1), regularizers.L1L2(0.1, 0.2)],
    constraints: [constraints.MaxNorm(3, axis=(0, 1)), constraints.NonNeg()],
    losses: [
        losses.Huber(0.5, reduction="sum"),
        losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
        losses.get(losses.mean_squared_error),
    ],
    metrics: [
        metrics.AUC(curve="PR", thresholds=[0.2, 0.7]),
        metrics.TopKCategoricalAccuracy(k=3),
        metrics.get("mse"),
        metrics.get("huber"),
        metrics.MeanMetricWrapper(losses.log_cosh, "mine"),
    ],
    optimizers: [
        optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=1.0),
        optimizers.SGD(schedules.PiecewiseConstantDecay([5], [0.1, 0.01]), momentum=0.9),
    ],
    schedules: [schedules.CosineDecay(0.1, 100, warmup_target=0.3, warmup_steps=5)],
}


@pytest.mark.parametrize(
    ("family", "thing"), [(f, t) for f, things in FAMILIES.items() for t in things], ids=lambda v: repr(v)[:40]
)
def test_config_survives_json(family, thing):
    config = thing.config()
    again = family.get(json.loads(json.dumps(config)))
    assert type(again) is type(thing)
    assert plain(again.config()) == plain(config)


def test_a_name_that_was_given_is_kept():
    assert metrics.get("mse").config()["name"] == "mse"
    assert metrics.get(metrics.get("mse").config()).name == "mse"
    assert optimizers.get(optimizers.SGD(0.5).config()).learning_rate == 0.5


def test_a_learning_rate_set_later_is_written_down():
    optimizer = optimizers.Adam(0.1)
    optimizer.learning_rate = 0.02
    assert optimizer.config()["learning_rate"] == 0.02


def test_wrong_arguments_are_listed():
    with pytest.raises(TypeError, match=r"L2.*unexpected keyword argument 'l1'.*takes: l2"):
        regularizers.L2(l1=0.1)
    with pytest.raises(TypeError, match=r"NonNeg.*too many positional arguments.*no arguments"):
        constraints.NonNeg(3)
    with pytest.raises(TypeError, match=r"Adam has no argument 'lr'. It takes: learning_rate, beta_1.*clipnorm"):
        optimizers.Adam(lr=0.1)


def test_custom_classes_are_passed_in():
    assert resolve("shift", {"class": "Shift", "by": 2.0, "x": 1}, {}, custom={"Shift": Shift}).options == {"x": 1}
    with pytest.raises(ValueError, match="unknown loss 'Mine'"):
        losses.get({"class": "Mine"})

    def mine(y_true, y_pred):
        return abs(y_true - y_pred)

    config = metrics.get(mine).config()
    assert metrics.get(config, custom={"mine": mine}).loss.function is mine
    with pytest.raises(ValueError, match="unknown metric 'mine'"):
        metrics.get(config)


def test_what_is_not_plain_is_named():
    with pytest.raises(TypeError, match=r"Shift\.by\[1\] is a object"):
        Shift([1.0, object()]).config()


def test_copies_keep_their_config():
    thing = optimizers.SGD(0.3, momentum=0.5)
    assert copy.deepcopy(thing).config() == copy.copy(thing).config() == thing.config()


@pytest.mark.parametrize(
    ("family", "wrong", "right"),
    [
        (optimizers, "adm", "adam"),
        (losses, "mean_square_error", "mean_squared_error"),
        (metrics, "acuracy", "accuracy"),
        (initializers, "glorot_unifrm", "glorot_uniform"),
        (regularizers, "l3", "l2"),
        (constraints, "maxnrm", "max_norm"),
    ],
)
def test_unknown_names_list_the_near_ones(family, wrong, right):
    with pytest.raises(ValueError, match=rf"unknown \w+ '{wrong}': did you mean .*'{right}'"):
        family.get(wrong)


@pytest.mark.parametrize("family", [optimizers, losses, metrics, initializers, regularizers, constraints])
def test_what_is_no_name_is_refused(family):
    assert family.get(None) is None
    with pytest.raises(TypeError, match=r"cannot take 3 as an?"):
        family.get(3)


def mean_squared_error(y_true, y_pred):
    return 100 * abs(y_true - y_pred)


class Huber(losses.Loss):
    def __init__(self, delta):
        super().__init__()
        self.delta = delta


def test_what_is_ours_and_what_the_users_is_kept_apart():
    config = losses.FunctionLoss(mean_squared_error).config()
    assert config["function"] == {"function": "mean_squared_error", "own": False}
    mine = {"mean_squared_error": mean_squared_error, "Huber": Huber}
    assert losses.get(config, mine).function is mean_squared_error
    with pytest.raises(ValueError, match="unknown metric 'mean_squared_error'"):
        metrics.get(metrics.get(mean_squared_error).config())
    ours = metrics.MeanMetricWrapper(losses.mean_squared_error).config()
    assert metrics.get(ours, mine).loss.function is losses.mean_squared_error
    assert type(losses.get(Huber(3).config(), mine)) is Huber and losses.get(Huber(3).config(), mine).delta == 3
    with pytest.raises(ValueError, match="unknown loss 'Huber'"):
        losses.get(Huber(3).config())
    assert type(losses.get({**losses.Huber(3).config(), "own": True}, mine)) is losses.Huber


def test_what_has_no_name_is_not_written_down():
    assert named_function(lambda x: x) is None and named_function(3) is None
    with pytest.raises(TypeError, match=r"loss is a function without a name.*named function"):
        plain(lambda y_true, y_pred: y_pred, "loss")


def test_a_class_stands_for_an_object_with_the_defaults():
    assert losses.get(plain(losses.Huber)).config() == losses.Huber().config()
