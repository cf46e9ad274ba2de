"""Text classification: from sentences to a model that takes sentences, its baselines, and what it refuses."""

import numpy as np
import pytest

import cenote as cn
from cenote.data.examples import Examples
from cenote.tasks.text import TextClassification, naive_bayes

GOOD = ["a fine film", "what a great story", "I liked it very much", "the best of the year", "fine and great"]
BAD = ["a bad film", "what a dull story", "I hated it very much", "the worst of the year", "bad and dull"]
TEXTS, CLASSES = [*GOOD, *BAD] * 8, (["good"] * 5 + ["bad"] * 5) * 8


@pytest.fixture(scope="module")
def trained():
    return TextClassification().train((TEXTS, CLASSES), verbose=0)


def test_sentences_get_their_class(trained):
    said = trained.predict(["what a fine story", "dull, bad, the worst"])
    assert [s["label"] for s in said] == ["good", "bad"] and said[0]["probability"] > 0.6
    assert said[0]["source"] == "what a fine story" and trained.scores["accuracy"] == 1


def test_baselines_are_the_majority_and_naive_bayes(trained):
    assert {b.name: b.value for b in trained.baselines} == {"majority class": 0.5, "naive Bayes": 1.0}


def test_fifteen_texts_are_learned():
    """Nothing is chosen by three texts for validation, and words count that stand in one text only."""
    trained = TextClassification().train((TEXTS[:15], CLASSES[:15]), verbose=0)
    said = trained.predict([*GOOD, *BAD])
    assert sum(one["label"] == right for one, right in zip(said, ["good"] * 5 + ["bad"] * 5, strict=True)) >= 8


def test_it_is_saved_with_its_preparation(trained, tmp_path):
    trained.save(tmp_path / "m.cenote")
    again = cn.load(tmp_path / "m.cenote")
    texts = ["a great film", "a bad year"]
    assert again.predict(texts) == trained.predict(texts)
    assert again.evaluate((GOOD, ["good"] * 5))["accuracy"] == 1


def test_naive_bayes_is_that_of_scikit_learn():
    learn = pytest.importorskip("sklearn.naive_bayes")
    draw = np.random.default_rng(0)
    dense = (draw.random((60, 12)) < 0.3).astype(np.float32)
    y = draw.integers(0, 3, 60)
    bags = np.zeros((60, 13), np.int32)
    for i, row in enumerate(dense):
        bags[i, : int(row.sum())] = np.flatnonzero(row) + 2
    train, test = ({"numbers": bags[part]} for part in (slice(0, 40), slice(40, None)))
    found = naive_bayes(train, np.eye(3, dtype=np.float32)[y[:40]], test, 14, False)
    expected = learn.MultinomialNB(alpha=1.0).fit(dense[:40], y[:40]).predict_proba(dense[40:])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_several_labels_for_a_text():
    labels = [
        ["praise", "film"] if "film" in t and c == "good" else ["film"] if "film" in t else []
        for t, c in zip(TEXTS, CLASSES, strict=True)
    ]
    trained = TextClassification(epochs=5).train((TEXTS, labels), verbose=0)
    assert "film" in trained.predict(["a film, a film"])[0]["labels"]
    assert [b.name for b in trained.baselines] == ["majority labels", "naive Bayes"]


def test_the_reason_is_said_and_tables_are_left_to_others(tmp_path):
    path = tmp_path / "reviews.tsv"
    path.write_text(
        "text\tlabel\n" + "\n".join(f"{t} {t}\t{c}" for t, c in zip(TEXTS[:10], CLASSES, strict=False)), encoding="utf-8"
    )
    assert "'text'" in TextClassification.fits(path, "label")
    (tmp_path / "n.csv").write_text("a,b\n1,2\n3,4\n")
    assert TextClassification.fits(tmp_path / "n.csv") is None
    assert cn.tasks.guess(path, "label")[0] is TextClassification


@pytest.mark.parametrize(
    ("texts", "classes", "says"),
    [
        (GOOD, ["good"] * 5, "one value only, .*'good'"),
        (["", " "], ["a", "b"], "no example left"),
        ([" ", ". "] * 5, ["a", "b"] * 5, "one value only"),
    ],
)
def test_what_cannot_be_learned_is_said(texts, classes, says):
    with pytest.raises(ValueError, match=says):
        TextClassification().plan((texts, classes))


def test_the_cnn_reads_words_in_their_order():
    task = TextClassification(model="cnn", length=8)
    job = task.plan((TEXTS, CLASSES))
    assert job.choice.name == "cnn" and job.data[0].shape[1] == 8
    assert task.outputs(job.model, job.data[0][:4]).shape == (4, 2)


def test_as_good_as_a_support_vector_machine_on_real_questions(data_folder):
    text, svm = (pytest.importorskip(f"sklearn.{n}") for n in ("feature_extraction.text", "svm"))
    task = TextClassification()
    job = task.plan(data_folder / "trec-questions")
    job.fit(verbose=0)
    scores = job.finish().scores
    parts = job.parts
    vectors = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(parts.train.inputs)
    machine = svm.LinearSVC().fit(vectors.transform(parts.train.inputs), parts.train.targets)
    peer = machine.score(vectors.transform(parts.test.inputs), parts.test.targets)
    error = np.sqrt(peer * (1 - peer) / len(parts.test))
    assert scores["accuracy"] > peer - error
    assert isinstance(parts.train, Examples) and len(parts.test) == 500
