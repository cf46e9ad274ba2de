"""Translation: beam search against all sequences there are, the model against itself, and a language learned in seconds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cenote as cn
from cenote.data.examples import Examples
from cenote.data.text.tokenize import END, PAD, START, UNKNOWN
from cenote.report.sentences import in_chinese
from cenote.tasks.translation import Pairs, SequenceToSequence, Translation, _searcher, search, translation_scores, word_by_word

WORDS = {
    "one": "eins",
    "two": "zwei",
    "red": "rot",
    "blue": "blau",
    "cat": "Katze",
    "dog": "Hund",
    "here": "hier",
    "now": "jetzt",
}


def sentences(count, seed=0):
    draw, words = np.random.default_rng(seed), list(WORDS)
    ours = [" ".join(draw.choice(words, draw.integers(4, 6))) for _ in range(count)]
    return ours, [" ".join(WORDS[w] for w in reversed(s.split())) for s in ours]


def test_beam_search_finds_the_best_of_all_sequences():
    size, length, alpha = 7, 3, 0.7
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(size, size)) * 2, jnp.float32)  # by the token before
    logits = logits.at[:, [PAD, UNKNOWN, START]].add(3.0)  # likely, and yet no part of a text
    logp = np.array(jax.nn.log_softmax(logits))
    best = {}
    for n in range(1, length + 1):
        for body in itertools.product(range(4, size), repeat=n - 1):
            tokens = (*body, END)
            total = sum(logp[a, b] for a, b in itertools.pairwise((2, *tokens)))
            best[tokens] = total / ((5 + n) / 6) ** alpha
    expected = max(best, key=best.get)
    run = jax.jit(lambda: search(lambda: (logits[jnp.full(18, 2)], ()), lambda t, s, p: (logits[t], ()), 2, 9, length, alpha))
    found, score = run()
    for row in np.asarray(found):
        assert tuple(row[: len(expected)].tolist()) == expected and not row[len(expected) :].any()
    np.testing.assert_allclose(score, best[expected], rtol=1e-5)


@pytest.fixture(scope="module")
def small():
    model = SequenceToSequence(12, 12, width=16, heads=2, depth=1, joint=True)
    source = np.array([[5, 6, 7, END], [8, END, PAD, PAD]], np.int32)
    model.build({"source": source, "target": source})
    return model, source


def test_the_first_loss_is_that_of_knowing_nothing():
    model = SequenceToSequence(300, 300, width=32, heads=2, depth=1, joint=True)
    tokens = np.random.default_rng(0).integers(4, 300, (4, 16)).astype(np.int32)
    logits = jax.jit(model.build({"source": tokens, "target": tokens}))(tokens, tokens)
    loss = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), tokens[..., None], -1).mean()
    assert loss == pytest.approx(np.log(300), rel=0.03)


def test_the_score_of_a_search_is_that_of_the_whole_model(small):
    model, source = small
    found, scores = (np.asarray(a) for a in _searcher(model, 3, 5, 5.0)(*model.arrays(), source))  # long ones preferred
    logits = np.array(jax.jit(lambda t: model(source, t))(found))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    length = (found != PAD).sum(1)
    total = np.where(found != PAD, np.take_along_axis(logp, found[..., None], -1)[..., 0], 0).sum(1)
    assert (length > 1).any() and (found[np.arange(2), length - 1] == END).all()
    np.testing.assert_allclose(scores, total / ((5 + length) / 6) ** 5.0, rtol=1e-4)


def test_padding_changes_nothing_and_no_place_sees_what_comes_after(small):
    model, source = small
    forward = jax.jit(lambda source, target: model(source, target))
    changed = source.copy()
    changed[:, 2:] = 9
    wide = np.pad(source, ((0, 0), (0, 3)))
    whole = forward(source, source)
    np.testing.assert_allclose(forward(wide, changed)[:, :3], whole[:, :3], atol=1e-5)
    assert np.abs(forward(wide, changed)[:, 3] - whole[:, 3]).max() > 1e-3


def test_batches_hold_each_pair_once_and_few_shapes():
    rows = [np.arange(5, 5 + n) for n in (2, 3, 7, 8, 2, 3, 7)]
    side = np.zeros((7, 8), np.int32)
    for i, row in enumerate(rows):
        side[i, : len(row)] = row + 10 * i
    passes = Pairs(side, side, [4, 8])(2, 0)
    first, second = list(passes.open_epoch(0)), list(passes.open_epoch(1))
    assert {x["source"].shape for x, _ in first} == {(2, 4), (2, 8)} and len(first) == len(passes) == 4
    seen = sorted(int(r[0]) for _, y in first for r in y if r[0])
    assert seen == sorted(side[:, 0].tolist())
    assert [y.tolist() for _, y in first] != [y.tolist() for _, y in second]
    assert [y.tolist() for _, y in first] == [y.tolist() for _, y in Pairs(side, side, [4, 8])(2, 0)]
    assert np.concatenate([y for _, y in Pairs(side, side, [4, 8])(3, None)]).tolist() == side.tolist()


def test_a_small_language_is_learned_saved_and_spoken(tmp_path):
    model = SequenceToSequence(20, 20, width=32, heads=2, depth=1, dropout=0.0, joint=True)
    options = {"tokenizer": "words", "epochs": 20, "learning_rate": 5e-3, "patience": 20, "batch_size": 16, "beams": 2}
    task = Translation(model=model, **options)
    trained = task.train(sentences(500), validation=32, test=32, verbose=0)
    assert task.preparation.lengths == [6] and task.preparation.size == 20
    assert trained.scores["BLEU"] > 80 and trained.scores.main.beats(max(b.value for b in trained.baselines))
    said = trained.predict("one red cat here")
    assert said == [{"source": "one red cat here", "translation": "hier Katze rot eins"}]
    trained.save(tmp_path / "t.cenote")
    assert cn.load(tmp_path / "t.cenote").predict("one red cat here") == said


def test_scores_are_those_of_the_metrics():
    texts, right = ["Katze rot", "ein Hund ist hier jetzt"], ["Katze blau", "ein Hund ist hier jetzt"]
    scores = translation_scores(texts, right)
    metric = cn.metrics.BLEU()
    metric.update_state(right, texts)
    assert scores["BLEU"] == pytest.approx(float(metric.result())) and scores.arrays["errors"][1] == pytest.approx(0, abs=1e-6)


def test_word_by_word_finds_the_words():
    ours, theirs = sentences(300)
    said = word_by_word(ours, theirs, ["two dogs", "Cat here"])
    assert said == ["zwei dogs", "Katze hier"]


def test_translations_that_training_has_under_another_sentence_are_said():
    ours = [f"sentence number {i}" for i in range(100)]
    theirs = [f"Satz Nummer {i}" for i in range(100)]
    ours[1], theirs[1] = "it is sentence zero", "Satz Nummer 0!"  # the same but for its mark
    again = [f"the source's own {i}" for i in range(10)]
    source = Examples("text", [*ours, *again], [*theirs, *theirs[:1], *["neu"] * 9], [f"en.txt:{i + 1}" for i in range(110)])
    source.parts = np.repeat(["train", "test"], [100, 10])
    parts = Translation().part(source, 0, 0)
    (found,) = [f for f in parts.findings if "translations" in f.text]
    assert "1 of 10 test translations (10.0%) stand in training under another sentence" in found.text
    assert found.severity == "warning" and found.where == "en.txt:101" and in_chinese(found.text)
    source.names = ()
    assert any("such as that of example 101:" in f.text for f in Translation().part(source, 0, 0).findings)
    source.targets[100] = "neu"
    assert not [f for f in Translation().part(source, 0, 0).findings if "translations" in f.text]


def test_what_cannot_be_read_is_said(tmp_path):
    for name, count in (("en.txt", 4), ("de.txt", 3)):
        (tmp_path / name).write_text("a line\n" * count)
    with pytest.raises(ValueError, match=r"4 lines and .* 3 lines"):
        Translation().plan((tmp_path / "en.txt", tmp_path / "de.txt"))
    with pytest.raises(ValueError, match="beams=0"):
        task = Translation(beams=0)
        task.decode(None, np.zeros((1, 4), np.int32))
    assert "line by line" in Translation.fits((tmp_path / "en.txt", tmp_path / "de.txt"))
