"""Sound as spectra: against Keras, NumPy's transform and SciPy's windows."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.signal

sys.path.insert(0, str(Path(__file__).parent))
from parity import compare, draw, keras

import cenote as cn
from cenote import layers
from cenote.kernels.spectrum import frames, mel_bank, window_of

SMALL = {"fft_length": 32, "sequence_stride": 10, "num_mel_bins": 6, "sampling_rate": 1000}


@pytest.mark.parametrize(
    ("mode", "options", "shape"),
    [
        ("log", {}, (2, 50, 1)),
        ("magnitude", {"padding": "same", "frame_step": 5}, (2, 53, 2)),
        ("psd", {"expand_dims": True, "scaling": "spectrum", "fft_length": 32}, (1, 50, 2)),
        ("real", {"window": "hamming", "periodic": True}, (1, 50, 2)),
        ("imag", {"window": None, "frame_step": 16}, (2, 50, 1)),
        ("angle", {"scaling": None}, (1, 40, 1)),
        ("stft", {"expand_dims": True, "padding": "same"}, (1, 41, 2)),
        ("stft", {"frame_length": 12, "frame_step": 7}, (1, 41, 2)),
    ],
    ids=str,
)
def test_stft_is_that_of_keras(mode, options, shape):
    options = {"mode": mode, "frame_length": 16, **options}
    ours, theirs = layers.STFTSpectrogram(**options), keras.layers.STFTSpectrogram(**options)
    x = draw(*shape)
    theirs.build(x.shape)
    y, expected = jax.jit(ours.build(x))(x), jax.jit(theirs)(x)  # with its own waves
    if mode == "angle":  # where pi and -pi are one
        np.testing.assert_allclose(np.exp(1j * np.asarray(y)), np.exp(1j * np.asarray(expected)), atol=1e-4)
    else:
        np.testing.assert_allclose(y, expected, atol=3e-5)
        compare(ours, theirs, x, atol=5e-5)


def test_stft_is_the_transform_of_numpy():
    x = draw(1, 64, 1)
    layer = layers.STFTSpectrogram("stft", 16, 8, scaling=None, expand_dims=True, trainable=False).build(x)
    cut = np.lib.stride_tricks.sliding_window_view(x[0, :, 0], 16)[::8] * scipy.signal.get_window("hann", 16, False)
    found = np.fft.rfft(cut)
    np.testing.assert_allclose(layer(x)[0, :, :, 0], np.concatenate([found.real, found.imag], -1), atol=1e-5)


@pytest.mark.parametrize(("length", "step"), [(4, 2), (5, 3), (6, 6), (1, 1), (64, 1), (40, 7)])
def test_frames_are_pieces(length, step):
    x = np.arange(200.0).reshape(2, 100)
    expected = np.lib.stride_tricks.sliding_window_view(x, length, -1)[:, ::step]
    np.testing.assert_array_equal(frames(jnp.asarray(x), length, step), expected)


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman"])
@pytest.mark.parametrize("periodic", [False, True])
def test_windows_are_those_of_scipy(name, periodic):
    for length in (1, 2, 7, 16):
        np.testing.assert_allclose(
            window_of(name, length, periodic), scipy.signal.get_window(name, length, periodic), atol=1e-15
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sequence_length": 20, "window": "hamming"},
        {"power_to_db": False, "mag_exp": 1.0, "window": None},
        {"min_freq": 50.0, "max_freq": 400.0, "top_db": 20.0, "ref_power": 2.0, "mag_exp": 1.5},
        {"window": np.hanning(32), "sequence_stride": 7, "fft_length": 32, "sequence_length": 32},
    ],
    ids=["plain", "short", "power", "range", "given"],
)
def test_mel_spectrogram_is_that_of_keras(options):
    ours, theirs = layers.MelSpectrogram(**{**SMALL, **options}), keras.layers.MelSpectrogram(**{**SMALL, **options})
    x = draw(2, 101) if options else draw(64)
    np.testing.assert_allclose(jax.jit(ours)(x), jax.jit(theirs)(x), atol=2e-4, rtol=2e-4)


def test_mel_bands_are_those_of_keras():
    theirs = jax.jit(lambda: keras.layers.MelSpectrogram().linear_to_mel_weight_matrix(20, 129, 8000, 125.0, 3800.0))()
    np.testing.assert_allclose(mel_bank(20, 129, 8000, 125.0, 3800.0), theirs, atol=2e-4)


def test_mfcc_is_the_cosine_transform_of_the_mel_spectrogram():
    x = draw(2, 101)
    bands = jax.jit(layers.MelSpectrogram(**SMALL))(x)
    expected = scipy.fft.dct(np.asarray(bands), norm="ortho", axis=1)[:, :4]
    np.testing.assert_allclose(jax.jit(layers.MFCC(4, **SMALL))(x), expected, atol=1e-4)


def test_gradients_are_the_slopes_even_in_silence():
    rng = np.random.default_rng(0)
    cases = (
        (layers.STFTSpectrogram("psd", 8), (1, 20, 1)),
        (layers.MelSpectrogram(**SMALL), (1, 40)),
        (layers.MelSpectrogram(**{**SMALL, "mag_exp": 1.0, "power_to_db": False}), (1, 40)),
    )
    with jax.enable_x64(True):
        for layer, shape in cases:
            x, way = rng.normal(size=shape), rng.normal(size=shape)
            params, state = jax.jit(lambda layer=layer, x=x: layer.init(0, x))()
            params = {k: np.asarray(v, "float64") for k, v in params.items()}
            mark = rng.normal(size=jax.eval_shape(lambda x, p=params, s=state, of=layer: of.apply(p, s, x)[0], x).shape)
            value = lambda x, of=layer, p=params, s=state, m=mark: jnp.vdot(of.apply(p, s, x)[0], m)  # noqa: E731
            both = jax.jit(jax.value_and_grad(value))
            (ahead, _), (behind, _) = both(x + 1e-6 * way), both(x - 1e-6 * way)
            slope = both(x)[1]
            assert slope.dtype == np.float64
            np.testing.assert_allclose(np.vdot(slope, way), (float(ahead) - float(behind)) / 2e-6, rtol=1e-5)
            assert np.isfinite(both(np.zeros(shape))[1]).all()


def test_kinds_of_numbers_and_saving(tmp_path):
    x = draw(2, 64, 1)
    model = cn.Sequential([layers.STFTSpectrogram("magnitude", 16, window=np.hanning(16)), layers.Dense(2)]).build(x)
    y = model.predict(x)
    model.save(tmp_path / "m.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "m.cenote").predict(x), y)
    mel = cn.Sequential([layers.MFCC(3, **SMALL), layers.Dense(2)]).build(x[..., 0])
    mel.save(tmp_path / "n.cenote")
    np.testing.assert_array_equal(cn.load(tmp_path / "n.cenote").predict(x[..., 0]), mel.predict(x[..., 0]))
    quiet = jax.jit(layers.MelSpectrogram(**SMALL))
    low = quiet(jnp.asarray(x[..., 0], jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(low, "float32"), quiet(x[..., 0]), atol=0.5)
    assert jax.vmap(quiet)(x[..., 0]).shape == (2, 6, 7)
    ints = (x * 1000).astype("int16")
    np.testing.assert_allclose(quiet(ints[..., 0]), quiet(ints[..., 0].astype("float32")))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: layers.STFTSpectrogram("power"), "unknown mode"),
        (lambda: layers.STFTSpectrogram(frame_length=8, frame_step=9), "skip"),
        (lambda: layers.STFTSpectrogram(frame_length=8, fft_length=4), "at least frame_length"),
        (lambda: layers.STFTSpectrogram(window="square"), "unknown window 'square'"),
        (lambda: layers.STFTSpectrogram(frame_length=8, window=[1.0, 2.0]), r"shape \(8,\)"),
        (lambda: layers.STFTSpectrogram(data_format="channels_first"), "channels_first"),
        (lambda: layers.STFTSpectrogram(scaling="l2"), "unknown scaling"),
        (lambda: layers.STFTSpectrogram(frame_length=8).build(np.zeros((1, 5, 1))), "less than a frame"),
        (lambda: layers.STFTSpectrogram().build(np.zeros((1, 500))), r"x\[..., None\]"),
        (lambda: layers.MelSpectrogram(fft_length=16, sequence_length=32), "at least sequence_length"),
        (lambda: layers.MelSpectrogram(min_freq=9000), "min_freq < max_freq"),
        (lambda: layers.MelSpectrogram()(np.zeros(100)), "more than 1024"),
        (lambda: layers.MelSpectrogram()(np.zeros((1, 3000, 1))), r"\(batch, time\)"),
        (lambda: layers.MFCC(40, num_mel_bins=20), "at most as many"),
    ],
)
def test_what_is_wrong_is_said(make, said):
    with pytest.raises(ValueError, match=said):
        make()
