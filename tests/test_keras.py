"""Listings written for Keras run with nothing changed but the import line."""

import numpy as np
import pytest

DROPOUT_LISTING = """
import numpy as np
(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, y_train, x_test, y_test = x_train[:LIMIT], y_train[:LIMIT], x_test[:LIMIT], y_test[:LIMIT]
x_train = x_train.reshape(-1, 784).astype('float32') / 255
x_test = x_test.reshape(-1, 784).astype('float32') / 255

model = keras.models.Sequential()
model.add(keras.layers.Dense(128, activation='relu', input_shape=(784,)))
model.add(keras.layers.Dropout(0.5))
model.add(keras.layers.Dense(10, activation='softmax'))
model.compile(optimizer='adam',
              loss='sparse_categorical_crossentropy',
              metrics=['accuracy'])
history = model.fit(x_train, y_train, batch_size=64, epochs=EPOCHS, verbose=2, validation_data=(x_test, y_test))
print(history.history['val_accuracy'][-1])
predictions = model.predict(x_test[:10])
print(np.argmax(predictions, axis=1), y_test[:10])
"""

FLATTEN_LISTING = """
mnist = tf.keras.datasets.mnist

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, y_train, x_test, y_test = x_train[:LIMIT], y_train[:LIMIT], x_test[:LIMIT], y_test[:LIMIT]
x_train, x_test = x_train / 255.0, x_test / 255.0

model = tf.keras.models.Sequential([
  tf.keras.layers.Flatten(input_shape=(28, 28)),
  tf.keras.layers.Dense(128, activation='relu'),
  tf.keras.layers.Dropout(0.2),
  tf.keras.layers.Dense(10, activation='softmax')
])
model.summary()
model.compile(optimizer='adam',
              loss='sparse_categorical_crossentropy',
              metrics=['accuracy'])
model.fit(x_train, y_train, epochs=EPOCHS)
test_loss, test_acc = model.evaluate(x_test, y_test, verbose=2)
predictions = model.predict(x_test)
"""

PIECES_LISTING = """
from cenote.keras import layers, models, optimizers
from cenote.keras.models import Sequential, Model
from cenote.keras.layers import Dense, Input, LSTM, Embedding
from cenote.keras.optimizers import Adam
from cenote.keras.optimizers.schedules import ExponentialDecay
from cenote.keras.utils import to_categorical
from cenote.keras.callbacks import EarlyStopping
import numpy as np

x = np.random.default_rng(0).integers(0, 20, size=(60, 7))
y = to_categorical((x.sum(1) > 70).astype(int), 2)
inputs = Input(shape=(7,), dtype='int32')
h = Embedding(20, 8, mask_zero=True)(inputs)
h = LSTM(8)(h)
outputs = Dense(2, activation='softmax')(h)
model = Model(inputs=inputs, outputs=outputs)
model.compile(loss='categorical_crossentropy', optimizer=Adam(learning_rate=ExponentialDecay(0.01, 100, 0.9)), metrics=['acc'])
history = model.fit(x, y, epochs=3, validation_split=0.2, verbose=0, callbacks=[EarlyStopping(monitor='val_loss', patience=2)])
model.save(PATH)
again = models.load_model(PATH)
assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
"""


def run(listing, limit=60_000, epochs=1, **names):
    names |= {"LIMIT": limit, "EPOCHS": epochs}
    exec(compile(listing, "listing", "exec"), names)
    return names


def test_the_dropout_listing(data_folder, capsys):
    from cenote import keras

    found = run(DROPOUT_LISTING, limit=10_000, epochs=2, keras=keras)
    assert set(found["history"].history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert found["history"].history["val_accuracy"][-1] > 0.88
    out = capsys.readouterr().out
    assert "Epoch 1/2" in out and " - loss: " in out and " - val_accuracy: " in out
    assert found["predictions"].shape == (10, 10)


def test_the_flatten_listing_with_tf_in_front(data_folder, capsys):
    import cenote as tf

    found = run(FLATTEN_LISTING, limit=10_000, epochs=2, tf=tf)
    assert found["test_acc"] > 0.9 and found["predictions"].shape == (10_000, 10)
    out = capsys.readouterr().out
    assert "101,770" in out or "101770" in out  # summary() before fit, because input_shape was given


def test_pieces_imported_one_by_one(tmp_path):
    run(PIECES_LISTING, PATH=str(tmp_path / "model.keras"))


def test_what_is_not_there_lists_what_is():
    from cenote import keras

    with pytest.raises(AttributeError, match=r"unknown name in keras.layers 'Dens'.*did you mean 'Dense'"):
        _ = keras.layers.Dens
    import cenote as tf

    with pytest.raises(AttributeError, match="unknown name in cenote 'kears'"):
        _ = tf.kears


@pytest.mark.usefixtures("quick_programs")
def test_the_same_weights_give_the_same_answers_as_keras():
    """The whole of a small classifier and its training against Keras itself: five steps of Adam from the same start."""
    keras = pytest.importorskip("keras")
    import cenote as cn
    from cenote import layers

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)).astype("float32"), rng.integers(0, 3, 40)
    theirs = keras.Sequential([keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(3, activation="softmax")])
    theirs.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    theirs.build((None, 6))
    ours = cn.Sequential([layers.Dense(8, activation="tanh"), layers.Dense(3, activation="softmax")])
    ours.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    ours.build((None, 6))
    ours.set_weights(theirs.get_weights())
    assert np.allclose(ours.predict(x), theirs.predict(x, verbose=0), atol=1e-6)
    a = ours.fit(x, y, batch_size=16, epochs=5, shuffle=False, verbose=0).history
    b = theirs.fit(x, y, batch_size=16, epochs=5, shuffle=False, verbose=0).history
    assert np.allclose(a["loss"], b["loss"], rtol=1e-4) and np.allclose(a["accuracy"], b["accuracy"])
    for left, right in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert np.allclose(left, right, atol=2e-5)
    assert np.allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), atol=1e-5)
