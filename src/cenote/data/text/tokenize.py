"""Tokenizers of characters, words and byte pairs: one small interface, learned from a corpus, kept as plain JSON values."""

from __future__ import annotations

import functools
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from ...core.errors import unknown
from ...progress import track

__all__ = ["END", "PAD", "START", "UNKNOWN", "BytePairs", "Characters", "Tokenizer", "Words", "learn", "restore"]

SPECIALS = ("[PAD]", "[UNKNOWN]", "[START]", "[END]")
PAD, UNKNOWN, START, END = range(4)

# Scripts that are written without spaces between words: each character stands alone (ideographs, kana and their extensions).
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_CLOSING, _OPENING = set(".,;:!?)]}%…»”’、。，；：！？）】》」』"), set("([{«“‘¿¡（【《「『$#")


class Tokenizer:
    """Text to numbers and back.

    Numbers 0 to 3 are padding, unknown, start and end; the tokens that were learned follow, the most frequent first.

    >>> words = learn(["the cat sat", "the dog sat"], "words")
    >>> words.encode("the bird sat").tolist()
    [5, 1, 4]
    >>> words.decode([5, 6, 4, END])
    'the cat sat'
    """

    kind: ClassVar[str]
    vocabulary: list[str]  # all tokens in the order of their numbers, the special ones first

    @property
    def size(self) -> int:
        """How many numbers there are, the special ones included."""
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's tokens, int32, without start and end."""
        raise NotImplementedError

    def encode_all(self, texts: Sequence[str], *, show: bool | None = None) -> list[np.ndarray]:
        """`encode` of each text, with progress."""
        return [self.encode(t) for t in track(texts, "splitting texts into tokens", show=show)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token that `encode` gives stands in the text: first character, and the one behind the last."""
        raise NotImplementedError

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers, up to the first end; padding and start are passed over."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        raise NotImplementedError

    def _names(self, numbers: Iterable[int]) -> Iterator[str]:
        for number in numbers:
            if number == END:
                return
            if not 0 <= number < self.size:
                raise ValueError(f"{int(number)} is no token: the vocabulary has the numbers 0 to {self.size - 1}")
            if number == UNKNOWN:
                yield "\ufffd"
            elif number not in (PAD, START):
                yield self.vocabulary[number]


class _Listed(Tokenizer):
    """A tokenizer that cuts a text at places known beforehand and looks the pieces up in a list."""

    def __init__(self, tokens: Sequence[str], lower: bool = False) -> None:
        if len(set(tokens)) != len(tokens) or not all(isinstance(t, str) and t for t in tokens):
            raise ValueError(f"a vocabulary of {self.kind} needs texts that are not empty and all different")
        self.vocabulary, self.lower = [*SPECIALS, *tokens], bool(lower)
        self._places = {t: i for i, t in enumerate(tokens, len(SPECIALS))}

    def pieces(self, text: str) -> list[str]:
        """The tokens of a text as they are looked up, known or not."""
        raise NotImplementedError

    def encode(self, text: str) -> np.ndarray:
        places = self._places
        return np.array([places.get(p, UNKNOWN) for p in self.pieces(text)], np.int32)

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": self.vocabulary[len(SPECIALS) :], "lower": self.lower}


class Characters(_Listed):
    """Each character is a token: any language, a small vocabulary, long sequences."""

    kind = "characters"

    def pieces(self, text: str) -> list[str]:
        return [folded(c, self.lower) for c in text] if self.lower else list(text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i in range(len(text))]

    def decode(self, numbers: Iterable[int]) -> str:
        return "".join(self._names(numbers))


class Words(_Listed):
    """Words, numbers and punctuation marks; of scripts without spaces (Chinese, Japanese kana) each character.

    `decode` puts spaces between words and none in front of closing punctuation, which is nearly, not always, what was there.
    """

    kind = "words"

    def pieces(self, text: str) -> list[str]:
        return [folded(m.group(), self.lower) for m in _word_pattern().finditer(text)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return word_spans(text)

    def decode(self, numbers: Iterable[int]) -> str:
        return self.join(self._names(numbers))

    @staticmethod
    def join(words: Iterable[str]) -> str:
        """Words as a text."""
        parts: list[str] = []
        for name in words:
            tight = not parts or name in _CLOSING or parts[-1] in _OPENING
            if not tight and not (_ideographic(name[0]) or _ideographic(parts[-1][-1])):
                parts.append(" ")
            parts.append(name)
        return "".join(parts)


class BytePairs(Tokenizer):
    """Byte-pair encoding: frequent neighbours merged, again and again, from characters up (Sennrich et al. 2016, 1508.07909).

    The library ``tokenizers`` does it (``pip install "cenote[text]"``); spaces are kept, so that `decode` gives the text back.
    """

    kind = "bpe"

    def __init__(self, description: dict[str, Any]) -> None:
        self._description = description
        try:
            self._inner = _library().Tokenizer.from_str(json.dumps(description))
        except Exception as error:  # the library raises plain Exceptions
            raise ValueError(f"the description of a byte-pair tokenizer is damaged: {error}") from error
        self._inner.encode_special_tokens = True  # a text that says "[END]" means these five characters
        known = self._inner.get_vocab()
        self.vocabulary = [t for t, _ in sorted(known.items(), key=lambda item: item[1])]
        if self.vocabulary[: len(SPECIALS)] != list(SPECIALS) or sorted(known.values()) != list(range(len(known))):
            raise ValueError(f"the description of a byte-pair tokenizer is damaged: its first tokens must be {SPECIALS}")

    def encode(self, text: str) -> np.ndarray:
        return np.array(self._inner.encode(text).ids, np.int32)

    def encode_all(self, texts: Sequence[str], *, show: bool | None = None) -> list[np.ndarray]:
        step = 2000
        batches = [texts[i : i + step] for i in range(0, len(texts), step)]
        found = (self._inner.encode_batch_fast(list(b)) for b in batches)
        what = "splitting texts into tokens"
        return [np.array(e.ids, np.int32) for b in track(found, what, total=len(batches), unit=step, show=show) for e in b]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(a + (text[a:b][:1] == " "), b) for a, b in self._inner.encode(text).offsets]

    def decode(self, numbers: Iterable[int]) -> str:
        return "".join(self._names(numbers)).replace("\u2581", " ").removeprefix(" ")

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "description": self._description}


KINDS: dict[str, type[Tokenizer]] = {c.kind: c for c in (Characters, Words, BytePairs)}


def learn(
    texts: Sequence[str],
    kind: str = "auto",
    *,
    size: int = 8000,
    minimum: int = 1,
    lower: bool = False,
    show: bool | None = None,
) -> Tokenizer:
    """A tokenizer learned from texts: the ``size`` most frequent tokens that occur ``minimum`` times or more.

    ``kind`` is "characters", "words" or "bpe"; "auto" takes byte pairs where the library for them is installed, and words
    otherwise. ``lower`` makes capital letters small. Characters are compared as they are; full-width forms of words are folded
    only with ``lower``.

    Raises: ValueError for an unknown kind or texts without any token; ImportError, naming the extra, for a missing library.

    >>> learn(["今天天气好"], "words").vocabulary[4:]
    ['天', '今', '好', '气']
    """
    if isinstance(texts, str):
        raise TypeError("learn takes a list of texts, and one text came in: give [text]")
    if kind == "auto":
        kind = "bpe" if has_library() else "words"
    if kind not in KINDS:
        raise unknown("kind of tokenizer", kind, [*KINDS, "auto"])
    if size <= len(SPECIALS):
        raise ValueError(f"a vocabulary needs more than {len(SPECIALS)} tokens, which are the special ones; got size={size}")
    if not any(t.strip() for t in texts):
        raise ValueError(f"there is nothing to learn tokens from: all of {len(texts)} texts are empty")
    if kind == "bpe":
        return _learn_pairs(texts, size, minimum, lower, show)
    made: Any = KINDS[kind]
    cutter, counts = made([], lower), Counter()
    for text in track(texts, f"counting {kind}", show=show):
        counts.update(cutter.pieces(text))
    ranked = sorted(((-n, t) for t, n in counts.items() if n >= minimum))
    return made([t for _, t in ranked[: size - len(SPECIALS)]], lower)


def restore(config: dict[str, Any]) -> Tokenizer:
    """The tokenizer whose `config` this is; ValueError for one that makes no sense. Nothing in it is executed."""
    if not isinstance(config, dict) or config.get("kind") not in KINDS:
        raise ValueError(f"this describes no tokenizer: its kind must be one of {', '.join(KINDS)}")
    kind = KINDS[config["kind"]]
    try:
        if kind is BytePairs:
            return BytePairs(config["description"])
        listed: Any = kind
        return listed(config["tokens"], config["lower"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"the description of a tokenizer of {config['kind']} is damaged: {error!r}") from error


def folded(text: str, lower: bool) -> str:
    """A text with small letters, where wanted, and full-width forms as their plain ones."""
    return unicodedata.normalize("NFKC", text).lower() if lower else text


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words and punctuation marks of a text stand.

    >>> word_spans("don't go, 不要")
    [(0, 5), (6, 8), (8, 9), (10, 11), (11, 12)]
    """
    return [m.span() for m in _word_pattern().finditer(text)]


def ideographic_share(texts: Sequence[str]) -> float:
    """The share of characters, spaces left out, that belong to scripts without spaces.

    >>> ideographic_share(["电影 good"])
    0.3333333333333333
    """
    found = total = 0
    pattern = re.compile(f"[{IDEOGRAPHS}]")
    for text in texts:
        found += len(pattern.findall(text))
        total += len("".join(text.split()))
    return found / max(total, 1)


def has_library() -> bool:
    """Whether the library for byte pairs is there."""
    import importlib.util

    return importlib.util.find_spec("tokenizers") is not None


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError('byte-pair encoding needs the package tokenizers: pip install "cenote[text]"') from error
    return tokenizers


def _learn_pairs(texts: Sequence[str], size: int, minimum: int, lower: bool, show: bool | None) -> BytePairs:
    t = _library()
    inner = t.Tokenizer(t.models.BPE(unk_token="[UNKNOWN]", fuse_unk=False))
    normalizers = [t.normalizers.NFKC(), t.normalizers.Lowercase()] if lower else [t.normalizers.NFC()]
    inner.normalizer = t.normalizers.Sequence(normalizers)
    # Words carry the space in front of them; punctuation and digits never merge with letters, line ends stand alone.
    cut = t.Regex(
        f"\\n| ?[{IDEOGRAPHS}]+| ?\\p{{N}}{{1,3}}| ?[^\\s\\p{{P}}\\p{{S}}\\p{{N}}{IDEOGRAPHS}]+| ?[\\p{{P}}\\p{{S}}]|\\s"
    )
    inner.pre_tokenizer = t.pre_tokenizers.Sequence(
        [
            t.pre_tokenizers.Split(cut, "isolated"),
            t.pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False),
        ]
    )
    trainer = t.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=max(2, minimum),
        special_tokens=list(SPECIALS),
        limit_alphabet=max(len(SPECIALS) + 1, size * 3 // 4),
        show_progress=sys.stderr.isatty() if show is None else bool(show),
    )
    inner.train_from_iterator(texts, trainer, length=len(texts))
    return BytePairs(json.loads(inner.to_str()))


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    # Python's \w leaves out the marks that belong to letters in Hindi, Thai, Arabic and in decomposed Latin.
    marks = "".join(
        f"{chr(a)}-{chr(b)}" if b > a else chr(a)
        for a, b in _ranges(i for i in range(0x300, 0x10000) if unicodedata.category(chr(i))[0] == "M")
    )
    letter = f"(?:(?![{IDEOGRAPHS}])[\\w{marks}])"
    return re.compile(f"[{IDEOGRAPHS}]|{letter}+(?:['’]{letter}+)*|[^\\w\\s]")


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = -2
    for n in numbers:
        if n != last + 1:
            if first >= 0:
                yield first, last
            first = n
        last = n
    if first >= 0:
        yield first, last


@functools.cache
def _ideographic(character: str) -> bool:
    return re.match(f"[{IDEOGRAPHS}。，、；：！？（）《》「」]", character) is not None
