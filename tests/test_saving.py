"""One file for a model: everything comes back, and a hostile file can do nothing."""

import json
import struct
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote import layers, saving
from cenote.files import BadFile, load_tensors, save_tensors

X = np.random.default_rng(0).normal(size=(30, 6)).astype("float32")
Y = (np.arange(30) % 3).astype("int32")


def double(x):
    return x * 2


class Net(cn.Model):
    def __init__(self, width, activation="relu"):
        super().__init__()
        self.blocks = [layers.Dense(width, activation) for _ in range(2)]
        self.norm = layers.BatchNormalization()
        self.out = layers.Dense(3, "softmax")

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


def sequential():
    normalise = layers.Normalization()
    normalise.adapt(X)
    return cn.Sequential(
        [normalise, layers.Dense(8, "relu", kernel_regularizer=cn.regularizers.L2(0.1)), layers.Dense(3, "softmax")]
    )


def functional():
    a, b = cn.Input((6,), name="a"), cn.Input((6,), name="b")
    shared = layers.Dense(5, activation="tanh", name="shared")
    h = shared(a) * 2 + shared(b)[:, ::-1]
    return cn.Model({"a": a, "b": b}, layers.Dense(3, "softmax", name="out")(h))


@pytest.mark.parametrize("make", [sequential, functional, lambda: Net(7)], ids=["sequential", "functional", "subclass"])
def test_a_loaded_model_answers_the_same_and_trains_on(make, tmp_path):
    model = make()
    x = {"a": X, "b": X[::-1]} if isinstance(model, cn.core.Graph) else X
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, Y, epochs=2, verbose=0)
    model.info = {"classes": ["一", "b", "c"]}
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Net": Net})
    assert type(again) is type(model) and again.info == model.info
    assert np.array_equal(again.predict(x), model.predict(x))
    assert again.evaluate(x, Y, verbose=0) == model.evaluate(x, Y, verbose=0)
    assert list(again.params) == list(model.params)
    again.fit(x, Y, verbose=0)


def test_frozen_layers_and_popped_layers_come_back(tmp_path):
    model = sequential()
    model.layers[1].trainable = False
    model.pop()
    model.add(layers.Dense(2, name="head"))
    model.build(X)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    assert not again.layers[1].trainable and again.layers[-1].units == 2
    assert np.array_equal(again.predict(X), model.predict(X))


def test_the_file_is_plain_safetensors(tmp_path):
    from safetensors.numpy import load_file

    model = sequential()
    model.build(X)
    model.save(tmp_path / "m.cenote")
    tensors = load_file(tmp_path / "m.cenote")
    assert np.array_equal(tensors["weights/layers.1.kernel"], model.params["layers.1.kernel"])


def test_a_missing_custom_class_is_named(tmp_path):
    model = Net(4)
    model.build(X)
    model.save(tmp_path / "m.cenote")
    with pytest.raises(ValueError, match=r"needs the class 'Net'.*custom_objects=\{'Net': Net\}"):
        cn.load(tmp_path / "m.cenote")


def test_functions_travel_by_name_or_not_at_all(tmp_path):
    model = cn.Sequential([layers.Dense(3, activation=double)])
    model.build(X)
    model.save(tmp_path / "m.cenote")
    with pytest.raises(ValueError, match="needs the function 'double'"):
        cn.load(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"double": double})
    assert np.array_equal(again.predict(X), model.predict(X))
    nameless = cn.Sequential([layers.Dense(3, activation=lambda x: x * 2)])
    nameless.build(X)
    with pytest.raises(ValueError, match=r"a function without a name.*define it with def"):
        nameless.save(tmp_path / "n.cenote")


def saved(tmp_path):
    model = sequential()
    model.build(X)
    model.save(tmp_path / "m.cenote")
    return tmp_path / "m.cenote"


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = saved(tmp_path)
    data = path.read_bytes()
    bad = tmp_path / "bad.cenote"
    for content, why in [
        (data[:100], "truncated"),
        (data[:-10], "damaged"),
        (data[:-2] + bytes([data[-2] ^ 1]) + data[-1:], "checksum"),
        (b"", "not a Cenote file"),
        (b"\x80\x04\x95cos\nsystem\n", "not a Cenote file"),
        (struct.pack("<Q", 2**62) + b"{}", "truncated or not"),
        (b"PK\x03\x04" + bytes(100), "not a Cenote file"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(BadFile, match=why):
            cn.load(bad)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        cn.load(tmp_path / "none.cenote")


def rewritten(tmp_path, change):
    """A file with a right checksum and a description that somebody changed."""
    tensors, info = load_tensors(saved(tmp_path), kind="model")
    text = json.loads(json.dumps(info))
    change(text, tensors)
    path = tmp_path / "hostile.cenote"
    save_tensors(path, tensors, text, kind="model")
    return path


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.Popen", "builtins.eval", "Popen", "Module.__subclasses__", "__import__", "_Fixed", "eval"]
)
def test_a_hostile_file_names_no_code_but_layers(tmp_path, name):
    def as_class(info, _):
        info["model"]["class"] = name

    def as_function(info, _):
        info["model"]["arguments"]["layers"][1]["arguments"]["activation"] = {"function": name}

    for change in (as_class, as_function):
        with pytest.raises(ValueError):
            cn.load(rewritten(tmp_path, change))


def test_a_hostile_file_exhausts_no_memory(tmp_path):
    def wide(info, _):
        info["model"]["arguments"]["layers"][1]["arguments"]["units"] = 10**12

    def deep(info, _):
        value = 0
        for _ in range(500):
            value = [value]
        info["spec"] = value

    def shared(info, _):
        info["model"]["arguments"]["layers"][1] = {"same": 99}

    for change in (wide, deep, shared):
        with pytest.raises(BadFile):
            cn.load(rewritten(tmp_path, change))


def test_lacking_and_surplus_weights_are_named(tmp_path):
    with pytest.raises(BadFile, match=r"lacks the weight 'layers\.1\.bias'"):
        cn.load(rewritten(tmp_path, lambda info, tensors: tensors.pop("weights/layers.1.bias")))
    with pytest.raises(BadFile, match="does not declare: intruder"):
        cn.load(rewritten(tmp_path, lambda info, tensors: tensors.update({"weights/intruder": np.zeros(3)})))


def test_a_model_file_cannot_make_a_layer_read_another_file(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("one\ntwo\n")
    for layer in (layers.StringLookup(vocabulary=["a", "b"]), layers.TextVectorization(vocabulary=["a", "b"])):
        model = cn.Sequential([layer])
        arguments = dict(layer.arguments())
        layer._constructor = ((), {**arguments, "vocabulary": str(secret)})
        path = tmp_path / "evil.cenote"
        model.save(path)
        with pytest.raises(ValueError, match=r"would have .* read .*secret\.txt"):
            cn.load(path)


def test_lists_that_could_not_be_read_back_are_not_written(tmp_path):
    class Long(layers.Layer):
        def __init__(self, numbers):
            super().__init__()

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match=r"layers\[0\].numbers.*give long lists to constructors as arrays"):
        cn.Sequential([Long(list(range(1_000_001)))]).save(tmp_path / "m.cenote")
    assert not list(tmp_path.iterdir())


# -- names: ours are ours, the user's are the user's -----------------------------------------------------------------------


def gelu(x):
    return x * 100


def add(a, b):
    return a - b


class L2(cn.regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x):
        return self.strength * jnp.sum(x * x)


class Halves(cn.initializers.Initializer):
    def __call__(self, key, shape, dtype=None):
        return jnp.full(shape, 0.5, dtype)


def distance(y_true, y_pred):
    return abs(y_true - y_pred)


def built(model, x=X):
    model.build(x)
    return model


def test_a_users_function_is_not_taken_for_ours_of_the_same_name(tmp_path):
    path = tmp_path / "m.cenote"
    a = cn.Input((6,))
    for model, name in [
        (built(cn.Sequential([layers.Dense(3, activation=gelu)])), "gelu"),
        (cn.Model(a, a.record(add, (a, a), {})), "add"),
    ]:
        model.save(path)
        with pytest.raises(ValueError, match=f"needs the function '{name}'"):
            cn.load(path)
        again = cn.load(path, custom_objects={name: globals()[name]})
        assert np.array_equal(again.predict(X), model.predict(X))
    ours = built(cn.Sequential([layers.Dense(3, activation=cn.activations.gelu)]))
    ours.save(path)
    assert np.array_equal(cn.load(path, custom_objects={"gelu": gelu}).predict(X), ours.predict(X))


def test_the_users_own_objects_in_layers_come_back(tmp_path):
    path = tmp_path / "m.cenote"
    options = {"kernel_regularizer": L2(0.3), "kernel_initializer": Halves, "bias_constraint": cn.constraints.NonNeg()}
    built(cn.Sequential([layers.Dense(3, **options)])).save(path)
    with pytest.raises(ValueError, match=r"needs '(L2|Halves)'.*custom_objects="):
        cn.load(path)
    with pytest.raises(ValueError, match=r"needs 'L2'.*custom_objects="):
        cn.load(path, custom_objects={"Halves": Halves})
    layer = cn.load(path, custom_objects={"L2": L2, "Halves": Halves}).layers[0]
    assert type(layer.options["kernel"]["regularizer"]) is L2 and layer.options["kernel"]["regularizer"].strength == 0.3
    assert type(layer.options["kernel"]["initializer"]) is Halves
    assert type(layer.options["bias"]["constraint"]) is cn.constraints.NonNeg
    model = built(cn.Sequential([layers.Dense(3, kernel_regularizer=cn.regularizers.L2(0.2))]))
    model.save(path)
    ours = cn.load(path, custom_objects={"L2": L2}).layers[0].options["kernel"]["regularizer"]
    assert type(ours) is cn.regularizers.L2


# -- what compile was told -------------------------------------------------------------------------------------------------


def test_compile_comes_back_with_functions_classes_and_numpy_numbers(tmp_path):
    path = tmp_path / "m.cenote"
    model = built(cn.Sequential([layers.Dense(3)]))
    model.compile(
        cn.optimizers.SGD(np.float32(0.25)),
        loss=cn.losses.mean_squared_error,
        metrics=[cn.metrics.MeanAbsoluteError, cn.losses.mean_absolute_error, distance],
        loss_weights=[np.float32(2)],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save(path)
        again = cn.load(path, custom_objects={"distance": distance})
    y = np.ones((30, 3), "float32")
    assert again.evaluate(X, y, verbose=0) == model.evaluate(X, y, verbose=0)
    assert again.optimizer.learning_rate == 0.25


def test_a_model_whose_compile_needs_what_is_not_there_predicts_all_the_same(tmp_path):
    path = tmp_path / "m.cenote"
    model = built(sequential())
    model.compile("sgd", distance)
    model.save(path)
    with pytest.warns(UserWarning, match=r"uncompiled.*'distance'.*custom_objects=\{'distance': distance\}"):
        again = cn.load(path)
    assert np.array_equal(again.predict(X), model.predict(X)) and again._compiled is None
    assert cn.load(path, custom_objects={"distance": distance})._compiled["loss"] is distance


def test_a_compile_that_cannot_be_written_is_left_out_with_a_warning(tmp_path):
    model = built(sequential())
    model.compile("sgd", lambda y_true, y_pred: abs(y_true - y_pred))
    with pytest.warns(UserWarning, match=r"without what compile was told: loss is a function without a name"):
        model.save(tmp_path / "m.cenote")
    assert cn.load(tmp_path / "m.cenote")._compiled is None


# -- models of all forms ---------------------------------------------------------------------------------------------------


def test_a_deep_graph_is_saved(tmp_path):
    a = x = cn.Input((6,))
    for _ in range(400):
        x = x + 1
    cn.Model(a, x).save(tmp_path / "m.cenote")
    assert np.allclose(cn.load(tmp_path / "m.cenote").predict(X), X + 400, atol=1e-3)


def test_a_layer_unfrozen_after_its_constructor_comes_back_unfrozen(tmp_path):
    model = built(cn.Sequential([layers.Dense(3, trainable=False), layers.Dense(2, trainable=False)]))
    model.layers[0].trainable = True
    model.save(tmp_path / "m.cenote")
    assert [layer.trainable for layer in cn.load(tmp_path / "m.cenote").layers] == [True, False]


class Stack(cn.Sequential):
    def __init__(self, width):
        self.head = layers.Dense(width, "relu")
        super().__init__([self.head, layers.Dense(width + 1)])


def test_layers_added_to_a_class_derived_from_sequential_come_back(tmp_path):
    model = Stack(4)
    model.pop()
    model.add(layers.Dense(5))
    model.add(layers.Dense(2))
    built(model).save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Stack": Stack})
    assert [layer.units for layer in again.layers] == [4, 5, 2] and again.head is again.layers[0]
    assert np.array_equal(again.predict(X), model.predict(X))


class Scaled(layers.Layer):
    def __init__(self, dtype="bfloat16"):
        super().__init__()
        self.kind = dtype

    def forward(self, x):
        return x * self.param("scale", (x.shape[-1],), "ones", dtype=self.kind).astype(x.dtype)


def test_weights_of_few_bits_come_back(tmp_path):
    model = built(cn.Sequential([Scaled(), layers.Dense(2)]))
    model.set_weights({"layers.0.scale": np.linspace(-1, 1, 6)})
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Scaled": Scaled})
    assert again.params["layers.0.scale"].dtype == jnp.bfloat16
    assert np.array_equal(again.predict(X), model.predict(X))


def test_a_checkpoint_of_weights_of_few_bits_is_gone_on_from(tmp_path):
    def run(epochs):
        model = cn.Sequential([Scaled(), layers.Dense(1)])
        model.compile(cn.optimizers.SGD(0.01), "mse", seed=1)
        checkpoints = cn.train.Checkpoints(tmp_path / "run")
        model.fit(X, Y[:, None], epochs=epochs, verbose=0, checkpoint=checkpoints)
        return model, checkpoints.notes

    run(2)
    model, notes = run(3)
    assert notes and notes[0].startswith("resumed from")
    assert model.params["layers.0.scale"].dtype == jnp.bfloat16


# -- hostile and foreign files ---------------------------------------------------------------------------------------------


def positional(layer, secret):
    return lambda info, _: info["model"]["arguments"].update(
        layers=[{"class": layer, "own": True, "id": 0, "arguments": {"*x": [None, 1, None, "[UNK]", str(secret)]}}]
    )


class Wordy(layers.StringLookup):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)


class Mixed(layers.Layer):
    def __init__(self, first, /, second, *rest, **options):
        super().__init__(**options)
        self.given = (first, second, rest)

    def forward(self, x):
        return x


def test_arguments_by_place_evade_no_check(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("one\ntwo\n")
    with pytest.raises(BadFile, match=r"gives StringLookup the argument '\*x', which it does not take"):
        cn.load(rewritten(tmp_path, positional("StringLookup", secret)))

    def named(info, tensors):
        positional("Wordy", secret)(info, tensors)
        layer = info["model"]["arguments"]["layers"][0]
        layer["own"], layer["arguments"] = False, {"*given": layer["arguments"]["*x"]}

    with pytest.raises(BadFile, match=r"gives Wordy the argument '\*given'"):
        cn.load(rewritten(tmp_path, named), custom_objects={"Wordy": Wordy})


def test_arguments_that_have_no_name_come_back(tmp_path):
    built(cn.Sequential([Mixed(1, 2, 3, "four", name="m")])).save(tmp_path / "m.cenote")
    layer = cn.load(tmp_path / "m.cenote", custom_objects={"Mixed": Mixed}).layers[0]
    assert layer.given == (1, 2, (3, "four")) and layer.name == "m"


def first_layer(info):
    return info["model"]["arguments"]["layers"][1]


def nested(depth):
    value = {"loss": "mse"}
    for _ in range(depth):
        value = {"a": value}
    return value


def doubled(info, _):
    """Models in models, each twice in the next: 2**40 calls in a few lines."""
    model = {"class": "Sequential", "own": True, "id": 0, "arguments": {"layers": []}}
    for i in range(1, 40):
        model = {"class": "Sequential", "own": True, "id": i, "arguments": {"layers": [model, {"same": i - 1}]}}
    info["model"] = model


def doubled_graphs(info, _):
    """The same with graphs of graphs."""
    ops = [{"input": "x", "shape": [None], "dtype": "float32"}]
    target = {"function": "neg", "own": True}
    for i in range(40):
        first = len(ops)
        for n in range(2):
            args = {"tuple": [{"node": [first - 1 + n if n else 0, 0]}]}
            ops.append({"target": target if n == 0 or i == 0 else {"same": i - 1}, "args": args, "kwargs": {"dict": []}})
        given = {"inputs": {"node": [0, 0]}, "outputs": {"node": [len(ops) - 1, 0]}}
        target = {"class": "Functional", "own": True, "id": i, "arguments": given}
    info.update(ops=ops, model=target)


MALFORMED = {
    "op without nodes": lambda i, _: i.update(
        ops=[{"target": {"function": "add", "own": True}, "args": {"tuple": [1, 2]}, "kwargs": {"dict": []}}]
    ),
    "ops no list": lambda i, _: i.update(ops=3),
    "op no dict": lambda i, _: i.update(ops=[3]),
    "endless input": lambda i, _: i.update(ops=[{"input": "x", "shape": [float("inf")], "dtype": "float32"}]),
    "huge input": lambda i, _: i.update(ops=[{"input": "x", "shape": [None, 1 << 20, 1 << 20], "dtype": "float32"}]),
    "many ops": lambda i, _: i.update(ops=[{"input": "x", "shape": [None], "dtype": "float32"}] * 20_001),
    "negative input": lambda i, _: i.update(ops=[{"input": "x", "shape": [-1], "dtype": "float32"}]),
    "negative node": lambda i, _: i.update(ops=[{"input": "x", "shape": [None], "dtype": "float32"}], spec={"node": [-1, 0]}),
    "deep compiled": lambda i, _: i.update(compiled=nested(450)),
    "compiled text": lambda i, _: i.update(compiled="x"),
    "compiled argument": lambda i, _: i.update(compiled={"optimizer": "no such thing"}),
    "compiled name": lambda i, _: i.update(compiled={"loss": {"function": [], "own": False}}),
    "trainable lists": lambda i, _: i.update(trainable=[[1]]),
    "trainable number": lambda i, _: i.update(trainable={"layers.1": 3}),
    "spec number": lambda i, _: i.update(spec=3),
    "spec huge": lambda i, _: i.update(spec={"tuple": [{"spec": [[1, 1 << 20, 1 << 20], "float32"]}]}),
    "spec many": lambda i, _: i.update(spec={"tuple": [{"spec": [[1 << 40, 6], "float32"]}]}),
    "spec objects": lambda i, _: i.update(spec={"tuple": [{"spec": [[1, 6], "object"]}]}),
    "info number": lambda i, _: i.update(info=3),
    "no model": lambda i, _: i.update(model=3),
    "no version": lambda i, _: i.pop("version"),
    "class list": lambda i, _: first_layer(i).update({"class": []}),
    "config text": lambda i, _: first_layer(i)["arguments"].update(kernel_regularizer={"config": "x", "family": "losses"}),
    "family": lambda i, _: first_layer(i)["arguments"].update(kernel_regularizer={"config": {}, "family": "os"}),
    "huge units": lambda i, _: first_layer(i)["arguments"].update(units=1 << 40),
    "huge pool": lambda i, _: first_layer(i).update({"class": "MaxPooling2D", "arguments": {"pool_size": 100}}),
    "many rounds": lambda i, _: first_layer(i).update({"class": "RandAugment", "arguments": {"num_ops": 10**6}}),
    "huge shape": lambda i, _: first_layer(i).update(
        {"class": "Reshape", "arguments": {"target_shape": {"tuple": [1 << 20, 1 << 20]}}}
    ),
    "huge neighbourhood": lambda i, _: first_layer(i).update(
        {"class": "LocalResponseNormalization", "arguments": {"size": 10**7}}
    ),
    "no object": lambda i, _: i.clear(),
    "texts for numbers": lambda i, t: t.update({"weights/layers.1.kernel": t["weights/layers.1.kernel"].astype("int32")}),
    "truth for numbers": lambda i, t: t.update({"weights/layers.1.bias": t["weights/layers.1.bias"] > 0}),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_whatever_is_malformed_ends_as_one_error_with_the_path(tmp_path, change):
    path = rewritten(tmp_path, change)
    with pytest.raises(BadFile) as caught:
        cn.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("change", [doubled, doubled_graphs])
def test_shared_parts_of_shared_parts_exhaust_no_time(tmp_path, monkeypatch, change):
    monkeypatch.setattr(saving, "MAX_CALLS", 2000)  # the true one takes some seconds
    with pytest.raises(BadFile, match="more than 2,000 calls"):
        cn.load(rewritten(tmp_path, change))


def test_sizes_that_are_in_proportion_pass(tmp_path):
    body = [layers.Dense(6, kernel_initializer=cn.initializers.HeNormal(seed=2**40)), layers.Dropout(0.1, seed=2**31)]
    built(cn.Sequential([*body, layers.Reshape((6, 1)), layers.MaxPooling1D(4096, padding="same")])).save(tmp_path / "m.cenote")
    assert cn.load(tmp_path / "m.cenote").layers[1].seed == 2**31
    model = cn.Sequential([layers.Dense(2)]).build(jax.ShapeDtypeStruct((100_000_000, 6), "float32"))  # all the data there are
    model.save(tmp_path / "m.cenote")
    assert np.array_equal(cn.load(tmp_path / "m.cenote").predict(X), model.predict(X))
    with pytest.raises(ValueError, match=r"MaxPooling1D\(pool_size=16385\) is more than a model file may ask for"):
        cn.Sequential([layers.MaxPooling1D(16385)]).save(tmp_path / "n.cenote")


def test_floats_of_another_size_are_taken(tmp_path):
    def halve(_, tensors):
        tensors["weights/layers.1.kernel"] = tensors["weights/layers.1.kernel"].astype("float16")

    assert cn.load(rewritten(tmp_path, halve)).params["layers.1.kernel"].dtype == "float32"


def test_a_file_of_a_newer_cenote_asks_for_an_upgrade(tmp_path):
    with pytest.raises(BadFile, match=r"hostile\.cenote was written by a newer Cenote.*upgrade cenote"):
        cn.load(rewritten(tmp_path, lambda info, _: info.update(version=99, model=None)))
