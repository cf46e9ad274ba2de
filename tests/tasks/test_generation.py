"""Text generation: counted models that sum to one, honest bits per character, and texts that follow the rules given."""

import math

import jax
import numpy as np
import pytest

import cenote as cn
from cenote.data.text.tokenize import learn
from cenote.tasks.generation import LanguageModel, TextGeneration, backed_off, sample, text_scores, writer_of

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 60


@pytest.fixture(scope="module")
def trained():
    model = LanguageModel(learn([TEXT], "characters").size, width=32, heads=2, depth=1, dropout=0.0)
    task = TextGeneration(model=model, window=32, epochs=20, batch_size=8, learning_rate=1e-2, length=40, temperature=0)
    return task.train([TEXT], verbose=0)


def test_the_first_loss_is_that_of_knowing_nothing():
    for size, width in ((30, 32), (3000, 16)):
        model = LanguageModel(size, width=width, heads=2, depth=1)
        tokens = np.random.default_rng(0).integers(4, size, (4, 33)).astype(np.int32)
        logp = np.asarray(jax.nn.log_softmax(jax.jit(model.build(tokens[:, :-1]))(tokens[:, :-1])))
        assert -np.take_along_axis(logp, tokens[:, 1:, None], -1).mean() == pytest.approx(np.log(size), rel=0.03)


def test_the_rate_falls_over_all_windows_of_the_text():
    job = TextGeneration(window=32, epochs=3, batch_size=8).plan([TEXT], verbose=0)
    windows = len(job.data[0])
    assert windows > 2 * len(job.parts.train) and job.steps() == -(-windows // 8)
    rate = job.model.optimizer.learning_rate
    assert float(rate(job.steps() * 3 // 2)) > 0.4 * job.choice.learning_rate > float(rate(job.steps() * 3 - 1))


def test_a_rhyme_is_learned_and_continued(trained):
    text = trained.predict("the cat ")[0]["text"]
    assert text.startswith("the cat sat on the ") and len(text) == len("the cat ") + 40
    scores = trained.scores
    assert scores["bits per character"] < 0.8 and scores["perplexity"] < 1.8
    assert [b.name for b in trained.baselines] == ["unigram", "5-gram"]
    assert trained.baselines[0].value > 3


def test_it_is_saved_with_its_characters(trained, tmp_path):
    trained.save(tmp_path / "g.cenote")
    again = cn.load(tmp_path / "g.cenote")
    assert again.predict(["the dog", "a"]) == trained.predict(["the dog", "a"])


def test_kept_keys_and_values_give_what_the_whole_window_gives(trained):
    model, tokenizer = trained.model, trained.preparation.tokenizer
    begin = tokenizer.encode("the")
    written = trained.task.preparation.tokenizer.encode(trained.predict("the")[0]["text"])[:15].tolist()
    assert written[:3] == begin.tolist() and len(written) == 15
    padded = np.zeros((1, 15), np.int32)
    padded[0] = written
    logits = np.array(jax.jit(model)(padded))[0]
    logits[:, :4] = -np.inf
    assert logits.argmax(-1)[2:-1].tolist() == written[3:]


def test_every_token_is_charged_once_and_seen_with_what_stands_before_it(trained):
    task, model = trained.task, trained.model
    x, y = task.preparation.windows([TEXT[:200]])
    cost = task.outputs(model, x)
    logp = np.asarray(jax.nn.log_softmax(jax.jit(model)(np.concatenate([x, x.reshape(-1)[16:48][None]]))))
    assert cost.shape == (x.size - 1,) and (cost > 0).all()
    np.testing.assert_allclose(cost[:32], -np.take_along_axis(logp[0], y[0][:, None], 1)[:, 0], rtol=1e-3, atol=1e-4)
    last = -np.take_along_axis(logp[-1], y.reshape(-1)[16:48][:, None], 1)[16:, 0]
    np.testing.assert_allclose(cost[32:48], last, rtol=1e-3, atol=1e-4)


def test_choices_obey_temperature_top_k_and_top_p(trained):
    model, begin = trained.model, trained.preparation.tokenizer.encode("the ")
    plain = writer_of(model, 32)
    likeliest = sample(model, begin, length=16, temperature=0, writer=plain).tolist()
    narrow = sample(model, begin, length=16, temperature=2.0, top_p=1e-6, writer=plain, seed=3).tolist()
    assert narrow == likeliest == sample(model, begin, length=16, temperature=5.0, top_k=1, writer=plain, seed=4).tolist()
    a, b, c = (sample(model, begin, length=16, temperature=2.0, writer=plain, seed=s).tolist() for s in (1, 1, 2))
    assert a == b != c
    with pytest.raises(ValueError, match="temperature=-1"):
        sample(model, begin, temperature=-1)


def test_counted_runs_are_probabilities_and_follow_witten_and_bell():
    numbers = learn([TEXT], "characters").encode(TEXT)
    size = int(numbers.max()) + 1
    beginning = numbers[:6]
    total = sum(math.exp(-backed_off(numbers, np.append(beginning, w), 4, size)[-1]) for w in range(size))
    assert total == pytest.approx(1, abs=1e-9)
    train = np.array([0, 1, 0, 1, 0, 2])
    # Two different tokens follow 0, which is followed three times: (c(0 1) + 2 p(1)) / (3 + 2).
    one = (2 + 3 / 3) / (6 + 3)
    assert backed_off(train, np.array([0, 1]), 2, 3)[1] == pytest.approx(-math.log((2 + 2 * one) / 5))


def test_bits_are_counted_by_characters_and_perplexity_by_tokens():
    pairs = learn(["abab abab abab cdcd"] * 9, "words")
    numbers = pairs.encode("abab cdcd abab")
    scores = text_scores(np.full(3, math.log(2.0)), numbers, pairs)
    assert scores["bits per character"] == pytest.approx(3 / 15) and scores["perplexity"] == pytest.approx(2)
    for text, kind in (("axb", "characters"), ("你我他", "words")):  # what is unknown is one character, too
        tokenizer = learn(["ab", "你他"], kind)
        assert text_scores(np.full(3, 1.0), tokenizer.encode(text), tokenizer)["bits per character"] == pytest.approx(
            1 / math.log(2)
        )


def test_the_end_of_the_text_is_the_test_and_too_little_is_said():
    task = TextGeneration(window=8)
    job = task.plan([TEXT * 3])
    assert "".join(job.parts.train.inputs) == (TEXT * 3)[: sum(map(len, job.parts.train.inputs))]
    with pytest.raises(ValueError, match="give more text"):
        TextGeneration(window=64).plan(["too short"] * 3)
