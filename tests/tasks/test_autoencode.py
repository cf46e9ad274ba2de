"""Autoencoding beats principal components where there is something to beat, and finds what is unusual."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

import cenote as cn
from cenote.data.examples import Examples
from cenote.tasks.autoencode import Autoencoding, principal_components


@pytest.fixture(scope="module")
def digits():
    (x, _), _ = cn.datasets.digits.load_data()
    return Examples("image", x, None, about={"high": 16.0})


@pytest.fixture(scope="module")
def trained(digits):
    return Autoencoding(width=6, epochs=20).train(digits, verbose=0)


def test_it_keeps_more_than_principal_components(trained):
    mean, components = trained.baselines
    assert mean.value == 0 and trained.scores.main.name == "variance kept"
    assert trained.scores.main.beats(components.value)
    train, test = (
        np.round(part.inputs.reshape(-1, 64) * (255 / 16)) / 255 for part in (trained.job.parts.train, trained.job.parts.test)
    )
    pca = PCA(6).fit(train)
    rest = ((pca.inverse_transform(pca.transform(test)) - test) ** 2).sum()
    assert components.value == pytest.approx(1 - rest / ((test - train.mean(0)) ** 2).sum(), abs=2e-3)


def test_it_begins_as_principal_components(digits):
    job = Autoencoding(width=6, model="linear").plan(digits)
    x, y = job.data
    codes = np.asarray(job.model.layers[0].predict(x))
    np.testing.assert_allclose(codes.std(0), 1, rtol=1e-3)
    pca = PCA(6).fit(y)
    np.testing.assert_allclose(job.model.predict(x), pca.inverse_transform(pca.transform(y)), atol=1e-4)


def test_noise_is_unusual_and_digits_are_not(trained, tmp_path):
    trained.save(tmp_path / "codes.cenote")
    again = cn.load(tmp_path / "codes.cenote")
    noise = np.random.RandomState(0).randint(0, 17, (5, 8, 8)).astype(np.uint8)
    assert all(a["unusual"] and a["rank"] == 1 for a in again.predict(noise))
    known = again.predict(trained.job.parts.test.inputs)
    assert sum(a["unusual"] for a in known) < 0.1 * len(known) and len(known[0]["code"]) == 6
    assert "unusual" in again.task.line(again.predict(noise)[0])
    assert again.evaluate(trained.job.parts.test).main.value == pytest.approx(trained.scores.main.value)


def test_tables_without_a_target_and_what_is_refused():
    draw = np.random.RandomState(0)
    a = draw.normal(size=200)
    rows = {"a": a, "b": 2 * a + 0.1 * draw.normal(size=200), "c": -a, "label": np.where(a > 0, "up", "down")}
    job = Autoencoding(target="label").plan(rows)
    assert job.task.preparation.features() == ["a", "b", "c"] and "3 columns" in job.announcement()
    with pytest.raises(ValueError, match="width=3: a code of 3 features has from 1 to 2 numbers"):
        Autoencoding(target="label", width=3).plan(rows)
    with pytest.raises(ValueError, match="unknown column of the table 'lable': did you mean 'label'"):
        Autoencoding(target="lable").plan(rows)


def test_components_of_few_long_rows():
    x = np.random.RandomState(0).normal(size=(8, 40))
    mean, directions, _ = principal_components(x, 3)
    pca = PCA(3).fit(x)
    np.testing.assert_allclose(
        (x - mean) @ directions @ directions.T, pca.inverse_transform(pca.transform(x)) - pca.mean_, atol=1e-8
    )
