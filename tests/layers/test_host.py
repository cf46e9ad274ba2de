"""Layers that work on the host in front of a model: texts in, numbers out, in every verb and kind of model."""

import numpy as np
import pytest

import cenote as cn
from cenote import layers


class Letters(layers.HostLayer):
    """How often each of some letters occurs: (batch,) of texts -> (batch, letter)."""

    def __init__(self, letters="", **options):
        super().__init__(**options)
        self.letters = letters

    def prepare(self, x):
        texts = [str(t[0] if isinstance(t, np.ndarray) else t) for t in x]
        return np.array([[t.count(c) for c in self.letters] for t in texts], "float32").reshape(len(texts), -1)

    def adapt(self, texts):
        self.letters = "".join(sorted(set("".join(texts))))
        self._adapted(letters=self.letters)


RNG = np.random.default_rng(0)
TEXTS = np.array(["".join(RNG.choice(list("abc"), 6)) for _ in range(64)])
LABELS = np.array([t.count("a") > 2 for t in TEXTS]).astype("float32")[:, None]


def sequential():
    return cn.Sequential([Letters("abc"), layers.Dense(8, "relu"), layers.Dense(1)])


def nested():
    return cn.Sequential([cn.Sequential([Letters("abc"), layers.Dense(8, "relu")]), layers.Dense(1)])


def functional():
    x = cn.Input((1,), dtype="string", name="text")
    return cn.Model(x, layers.Dense(1)(layers.Dense(8, "relu")(Letters("abc")(x))))


class Own(cn.Model):
    def __init__(self):
        super().__init__()
        self.letters, self.first, self.last = Letters("abc"), layers.Dense(8, "relu"), layers.Dense(1)

    def prepare(self, x):
        return self.letters(x)

    def forward(self, x):
        return self.last(self.first(x))


@pytest.mark.parametrize("make", [sequential, nested, functional, Own])
def test_every_verb_takes_texts(make, tmp_path):
    model = make()
    model.compile(cn.optimizers.Adam(0.05), cn.losses.BinaryCrossentropy(from_logits=True))
    texts = TEXTS.tolist()
    history = model.fit(texts, LABELS, epochs=8, verbose=0, validation_data=(TEXTS[:8], LABELS[:8]))
    assert history.history["loss"][-1] < history.history["loss"][0] / 1.5 and "val_loss" in history.history
    assert model.evaluate(texts, LABELS, verbose=0) < history.history["loss"][0]
    assert np.isfinite(model.train_on_batch(texts[:8], LABELS[:8]))
    assert np.isfinite(model.test_on_batch(texts[:8], LABELS[:8]))
    y = model.predict(texts[:5])
    np.testing.assert_allclose(y, model(texts[:5]), atol=1e-6)
    np.testing.assert_allclose(y, model.predict([b for b in np.array(texts[:5])]), atol=1e-6)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Letters": Letters, "Own": Own})
    np.testing.assert_array_equal(again.predict(texts[:5]), y)


def test_batches_split_and_raw_sizes():
    model = sequential()
    model.compile("sgd", "mse")

    class Batches:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            if i >= 4:
                raise IndexError
            return TEXTS[16 * i : 16 * i + 16], LABELS[16 * i : 16 * i + 16]

    history = model.fit(Batches(), epochs=2, verbose=0, validation_data=Batches())
    assert [r["examples"] for r in history.records if "val_loss" in r] == [64, 128]
    model.fit(iter(list(Batches()) * 2), steps_per_epoch=4, epochs=2, verbose=0)
    model.fit(TEXTS, LABELS, validation_split=0.25, verbose=0)
    assert model.predict(iter([TEXTS[:4], TEXTS[4:6]])).shape == (6, 1)
    assert model.count_params() == 4 * 8 + 9


def test_a_graph_with_texts_and_numbers(tmp_path):
    text, number = cn.Input((), dtype=str, name="text"), cn.Input((2,), name="number")
    h = layers.Concatenate()([Letters("ab")(text), number])
    model = cn.Model({"text": text, "number": number}, layers.Dense(1)(h))
    x = {"text": TEXTS, "number": RNG.normal(size=(64, 2)).astype("float32")}
    model.compile("sgd", "mse")
    model.fit(x, LABELS, verbose=0)
    y = model.predict(x)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Letters": Letters})
    np.testing.assert_array_equal(again.predict(x), y)


def test_what_is_learned_is_saved(tmp_path):
    model = cn.Sequential([Letters(), layers.Dense(1)])
    model.layers[0].adapt(TEXTS)
    y = model.build(TEXTS)(TEXTS)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", custom_objects={"Letters": Letters})
    assert again.layers[0].letters == "abc"
    np.testing.assert_array_equal(again(TEXTS), y)


def test_inside_a_computation_it_says_where_it_belongs():
    class Wrong(Own):
        def prepare(self, x):
            return x

        def forward(self, x):
            return self.last(self.letters(x))

    with pytest.raises(TypeError, match="works on the host, before the compiled model"):
        Wrong().build(np.zeros((2, 3), "float32"))


def test_what_layers_in_a_class_of_ones_own_learned_is_saved(tmp_path):
    class Table(cn.Model):
        def __init__(self):
            super().__init__()
            self.words = layers.StringLookup(output_mode="one_hot")
            self.bins = layers.Discretization(num_bins=3)
            self.last = layers.Dense(1)

        def prepare(self, x):
            return self.words(x)

        def forward(self, x):
            return self.last(x + self.bins(x.sum(-1, keepdims=True)))

    model = Table()
    model.words.adapt(TEXTS)
    model.bins.adapt(np.arange(9.0)[:, None])
    y = model.build(TEXTS)(TEXTS)
    model.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote", {"Table": Table})
    assert again.words.get_vocabulary() == model.words.get_vocabulary()
    np.testing.assert_array_equal(again.predict(TEXTS), y)
    again.save(tmp_path / "n.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "n.cenote", {"Table": Table}).predict(TEXTS), y)
