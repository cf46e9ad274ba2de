"""Pictures to pictures: against SciPy's and Pillow's stored answers, the standard library's colours, and plain loops."""

import colorsys
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cenote.kernels import image

STORED = json.loads((Path(__file__).parents[1] / "parity" / "augment.json").read_text())
X = np.random.default_rng(7).integers(0, 256, (5, 7, 3)).astype("uint8")  # the picture of make_augment.py
AT = np.random.default_rng(8).uniform(-12, 18, (2, 5, 7)).astype("float32")
RNG = np.random.default_rng(0)


def run(f, *args, **kwargs):
    """Compiled once and quickly: what runs for microseconds need not be optimised."""
    return jax.jit(lambda *a: f(*a, **kwargs)).lower(*args).compile({"xla_backend_optimization_level": 0})(*args)


def floats(*shape):
    return RNG.uniform(0, 255, shape).astype("float32")


def test_reading_between_pixels_as_scipy():
    both = np.stack([X.astype("float32"), floats(5, 7, 3)])
    rows, columns = np.stack([AT[0]] * 2), np.stack([AT[1]] * 2)
    names = list(STORED["sample"])  # mode and interpolation
    found = run(lambda *a: {name: image.sample(*a, *name.split()[::-1], 3.0) for name in names}, both, rows, columns)
    for name, expected in STORED["sample"].items():
        np.testing.assert_allclose(found[name][0], expected, atol=2e-2, err_msg=name)
        assert not np.allclose(found[name][1], expected)


def test_whole_numbers_stay_whole_and_places_behind_the_horizon_are_outside():
    masks = jnp.asarray(X[None] // 90)
    found = run(image.sample, masks, AT[:1], AT[1:])
    assert found.dtype == np.uint8 and set(np.unique(found)) <= {0, 1, 2}
    nowhere = np.array([[[np.nan, np.inf, -np.inf, 1e30]]], "float32")
    for interpolation in image.INTERPOLATIONS:
        options = {"interpolation": interpolation, "fill_mode": "constant", "fill_value": 9.0}
        found = run(image.sample, X[None].astype("float32"), nowhere, nowhere, **options)
        assert np.array_equal(found, np.full((1, 1, 4, 3), 9))


def test_the_identity_and_whole_steps_are_exact():
    x = floats(2, 5, 7, 3)
    ends = jnp.array([[[0.0, 0], [6, 0], [0, 4], [6, 4]]] * 2)

    def warps(x):
        still = image.warp(x, image.affine(x.shape, jnp.zeros(2)))
        seen = image.warp(x, image.homography(ends, ends), fill_mode="constant")
        return still, seen, image.warp(x[:, :, 1:6], image.affine((2, 5, 5, 3), jnp.full(2, np.pi / 2)))

    still, seen, turned = run(warps, x)
    assert np.array_equal(still, x) and np.allclose(seen, x, atol=1e-2)
    assert np.allclose(turned, np.rot90(x[:, :, 1:6], 1, (1, 2)), atol=1e-2)  # counter-clockwise


def test_a_homography_brings_the_corners_where_it_should():
    start = np.array([[[0.0, 0], [6, 0], [0, 4], [6, 4]]])
    end = np.array([[[1.0, 0.5], [5, 0], [0.5, 4.5], [7, 5]]])
    h = np.append(np.asarray(run(image.homography, start, end)[0]), 1).reshape(3, 3)
    back = np.c_[end[0], np.ones(4)] @ h.T  # from the output to the input
    np.testing.assert_allclose(back[:, :2] / back[:, 2:], start[0], atol=1e-3)


def test_colours_as_the_standard_library():
    rgb = np.concatenate([RNG.uniform(size=(30, 3)), [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [1, 1, 0], [1, 0, 1]]])
    rgb = rgb.astype("float32")
    hsv, back = run(lambda x: (image.rgb_to_hsv(x), image.hsv_to_rgb(image.rgb_to_hsv(x))), rgb)
    np.testing.assert_allclose(hsv, [colorsys.rgb_to_hsv(*map(float, p)) for p in rgb], atol=1e-5)
    np.testing.assert_allclose(back, rgb, atol=1e-5)


def test_blurs_as_scipy():
    def blurs(x):
        taps = image.gaussian(jnp.array([0.8]), 5)
        field = jnp.stack([x[0, ..., 0]] * 2)
        return image.slide(x, taps, taps), image.spread(field, jnp.array([0.7, 0.0])), image.smooth(x)

    slid, spread, smooth = run(blurs, X[None].astype("float32"))
    np.testing.assert_allclose(slid[0], STORED["blur"], atol=2e-3)
    np.testing.assert_allclose(spread[0], STORED["spread"], atol=2e-3)
    np.testing.assert_allclose(spread[1], X[..., 0], atol=1e-3)  # no blur
    kernel = np.full((3, 3), 1 / 13)
    kernel[1, 1] = 5 / 13
    padded = np.pad(X[..., 0].astype(float), 1)
    soft = [[(padded[i : i + 3, j : j + 3] * kernel).sum() for j in range(7)] for i in range(5)]
    np.testing.assert_allclose(smooth[0, ..., 0], soft, rtol=1e-5)


def test_shades_as_pillow():
    x, flat = X[None].astype("float32"), np.full((1, 2, 2, 1), 7, "float32")
    few, wide, still, even = run(
        lambda x, flat: (
            image.posterize(x, jnp.array([3])),
            image.autocontrast(x),
            image.autocontrast(flat),
            image.equalize(flat),
        ),
        *(x, flat),
    )
    np.testing.assert_array_equal(few[0], STORED["posterize"])
    np.testing.assert_allclose(wide[0], STORED["autocontrast"], atol=1)  # Pillow cuts the fractions off
    assert np.array_equal(still, flat) and np.array_equal(even, flat)


@pytest.mark.parametrize("bins", [256, 10])
def test_histograms_and_equalization_by_the_formula(bins):
    x = floats(2, 5, 7, 3).round()
    number = np.floor(x * (bins - 1) / 255 + 1e-6).astype(int)
    found, counts = run(lambda x, n: (image.equalize(x, bins), image.histogram(n, bins)), x, number)
    equal = np.empty_like(x)
    for b in range(2):
        for c in range(3):
            plane = number[b, :, :, c]
            np.testing.assert_array_equal(counts[b, c], np.bincount(plane.ravel(), minlength=bins))
            below = np.array([(plane <= v).sum() for v in plane.ravel()]).reshape(plane.shape)
            least = below.min()
            equal[b, :, :, c] = np.round((below - least) * 255 / (35 - least))
    np.testing.assert_allclose(found, equal, atol=1e-3)


def test_windows_and_rectangles():
    x = floats(2, 5, 7, 3)
    edges = ([1.0, 0.5], [3.0, 2.5], [0.0, 4.0], [2.0, 9.0])

    def both(x):
        inside = image.rectangle(x.shape, *map(jnp.array, edges))
        return image.crop(x, jnp.array([0, 2]), jnp.array([3, 1]), 3, 4), inside

    found, inside = run(both, x)
    np.testing.assert_array_equal(found, [x[0, 0:3, 3:7], x[1, 2:5, 1:5]])
    np.testing.assert_array_equal(np.argwhere(inside[0, ..., 0]), [[0, 1], [0, 2], [1, 1], [1, 2]])
    np.testing.assert_array_equal(np.argwhere(inside[1, ..., 0]), [[4, 1], [4, 2]])


def test_gradients_of_warps_and_blurs():
    with jax.enable_x64(True):
        x = jnp.asarray(floats(1, 4, 5, 2), jnp.float64)
        t = jnp.asarray([[1.13, 0.21, -0.37, 0.11, 0.83, 0.43]])
        taps = image.gaussian(jnp.asarray([0.9]), 3)
        for f in (
            lambda x, t: (image.warp(x, t, fill_mode="constant") ** 2).sum() / 1e3,
            lambda x, t: (image.slide(x, taps, taps) ** 2 + image.smooth(x) ** 2).sum() / 1e3 + 0 * t.sum(),
        ):
            for at, given in ((0, x), (1, t)):
                step = 1e-6 * RNG.normal(size=given.shape)

                def both(a, f=f, at=at, step=step):
                    g = (lambda a: f(a, t)) if at == 0 else (lambda a: f(x, a))
                    return jax.grad(g)(a), jax.lax.map(g, jnp.stack([a + step, a - step]))

                grad, (up, down) = run(both, given)
                np.testing.assert_allclose((grad * step).sum(), (up - down) / 2, rtol=1e-4, atol=1e-12)
