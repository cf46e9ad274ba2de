"""Tokenizers: text to numbers and back, in any language, and back again from plain JSON."""

import json

import numpy as np
import pytest

from cenote.data.text import tokenize
from cenote.data.text.tokenize import END, PAD, START, UNKNOWN, learn, restore, word_spans

TEXTS = [
    "The quick brown fox doesn't jump over 12 lazy dogs.",
    "今天天气很好，我们去看电影吧。",
    "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
    "हिन्दी में लिखा हुआ",
    'He said: "no!" (twice)',
] * 3


@pytest.mark.parametrize("kind", ["characters", "words", "bpe"])
def test_texts_come_back(kind):
    tokens = learn(TEXTS, kind, size=400)
    for text in TEXTS[:2] if kind == "words" else TEXTS:
        assert tokens.decode(tokens.encode(text)) == text
    assert tokens.encode(TEXTS[0]).dtype == np.int32 and tokens.vocabulary[:4] == list(tokenize.SPECIALS)
    assert len(tokens.vocabulary) == tokens.size == len(set(tokens.vocabulary))


@pytest.mark.parametrize("kind", ["characters", "words", "bpe"])
def test_spans_are_where_the_tokens_stand(kind):
    tokens = learn(TEXTS, kind, size=400)
    for text in TEXTS[:5]:
        spans = tokens.spans(text)
        assert len(spans) == len(tokens.encode(text))
        covered = {i for a, b in spans for i in range(a, b)}
        assert {i for i, c in enumerate(text) if not c.isspace()} <= covered


@pytest.mark.parametrize("kind", ["characters", "words", "bpe"])
def test_json_restores_a_tokenizer(kind):
    tokens = learn(TEXTS, kind, size=300, lower=kind == "words")
    again = restore(json.loads(json.dumps(tokens.config())))
    assert again.vocabulary == tokens.vocabulary
    assert all((again.encode(t) == tokens.encode(t)).all() for t in TEXTS)


def test_the_most_frequent_come_first_and_the_rest_is_unknown():
    tokens = learn(["b a a", "a b c"], "words", size=6)
    assert tokens.vocabulary[4:] == ["a", "b"]
    assert tokens.encode("c a").tolist() == [UNKNOWN, 4]
    assert tokens.decode([START, 4, PAD, 5, END, 4]) == "a b"
    assert learn(["b a a", "a b c"], "words", minimum=2).size == 6


def test_a_text_that_names_a_special_token_is_text():
    tokens = learn(TEXTS + ["[END] is a word"] * 3, "bpe", size=400)
    assert END not in tokens.encode("[END] is a word").tolist()


def test_chinese_needs_no_segmenter():
    assert [TEXTS[1][a:b] for a, b in word_spans(TEXTS[1])][:4] == ["今", "天", "天", "气"]
    assert [a[1] - a[0] for a in word_spans("हिन्दी don't")] == [6, 5]
    assert tokenize.ideographic_share(["今天 good"]) == pytest.approx(1 / 3)


def test_full_width_letters_are_the_plain_ones_where_case_is_folded():
    tokens = learn(["Cafe Ｔｅｘｔ"], "words", lower=True)
    assert tokens.encode("TEXT cafe").tolist() == tokens.encode("Ｔｅｘｔ CAFE").tolist()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: learn(["a"], "wrods"), "did you mean 'words'"),
        (lambda: learn(["  ", ""], "words"), "all of 2 texts are empty"),
        (lambda: learn("one text", "words"), r"give \[text\]"),
        (lambda: learn(["a"], "words", size=4), "more than 4 tokens"),
        (lambda: restore({"kind": "pickle"}), "kind must be one of characters, words, bpe"),
        (lambda: restore({"kind": "words", "lower": False}), "damaged"),
        (lambda: restore({"kind": "words", "tokens": ["a", "a"], "lower": False}), "all different"),
        (lambda: restore({"kind": "bpe", "description": {"model": 1}}), "damaged"),
        (lambda: learn(["a b"], "words").decode([99]), "the numbers 0 to 5"),
    ],
)
def test_what_is_wrong_is_said(call, says):
    with pytest.raises((ValueError, TypeError), match=says):
        call()


def test_without_the_library_words_are_taken_and_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(tokenize, "has_library", lambda: False)
    assert learn(["a b"], "auto").kind == "words"
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"cenote\[text\]"):
        learn(["a b"], "bpe")
