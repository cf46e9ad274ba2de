"""Speech: which word it is, what was said, and the search for the best text."""

import itertools
import struct

import numpy as np
import pytest

from cenote.tasks.ctc import best_path, prefix_search
from cenote.tasks.speech import SpeechClassification, SpeechRecognition, Transcripts


def wav(samples, rate=8000):
    values = (samples * 32767).round().astype("<i2").tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(values), b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", len(values)
    )
    return head + values


def beep(pitch, draw, seconds=0.12):
    time = np.arange(round(seconds * 8000)) / 8000
    return 0.3 * np.sin(2 * np.pi * pitch * draw.uniform(0.97, 1.03) * time) + 0.01 * draw.randn(len(time))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, draw = tmp_path_factory.mktemp("beeps"), np.random.RandomState(0)
    for i in range(60):
        word, pitch = (("low", 400.0), ("high", 1600.0))[i % 2]
        (root / f"{word}_v{i % 3}z_{i}.wav").write_bytes(wav(beep(pitch, draw)))
    return root


def test_it_learns_from_names_of_files_and_takes_raw_recordings(folder, tmp_path):
    task = SpeechClassification(epochs=12, batch_size=8)
    assert "it holds recordings" in task.fits(folder)
    trained = task.train(folder, verbose=0)
    assert trained.scores.main.value > 0.9
    assert [b.name for b in trained.baselines] == ["majority class", "logistic regression"]
    path = folder / "high_v1z_1.wav"
    answer = trained.predict(path)[0]
    assert answer["label"] == "high" and answer["source"].endswith("high_v1z_1.wav")
    trained.save(tmp_path / "m.cenote")
    from cenote import load

    loaded = load(tmp_path / "m.cenote")
    again = loaded.predict([path, folder / "low_v0z_0.wav"])
    assert again[0]["probability"] == pytest.approx(answer["probability"], abs=1e-5)  # whatever else is in the batch
    assert any("3 speakers seem to be named" in f.text for f in trained.job.findings)


def test_it_says_what_it_chose(folder):
    job = SpeechClassification(model="linear", rate=4000, seconds=0.2).plan(folder)
    assert job.choice.name == "linear" and job.task.preparation.length == 800
    said = SpeechClassification().plan(folder).announcement()
    for text in ("log-mel spectrograms", "8,000 samples a second: most have it", "labels were taken from the files' names"):
        assert text in said, text


def test_recordings_too_short_for_spectrograms_are_refused(folder):
    with pytest.raises(ValueError, match="too short for spectrograms"):
        SpeechClassification(seconds=0.01).plan(folder)


# -- transcripts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Sequences of two beeps, spelt a and b, with pauses between."""
    root, draw = tmp_path_factory.mktemp("spoken"), np.random.RandomState(1)
    rows = ["file,transcript"]
    for i in range(48):
        text = "".join(draw.choice(list("ab"), 1 + i % 3))
        parts = [np.r_[beep({"a": 400.0, "b": 1600.0}[c], draw), np.zeros(480)] for c in text]
        (root / f"{i}.wav").write_bytes(wav(np.concatenate(parts)))
        rows.append(f"{i}.wav,{text.upper()}!")
    (root / "said.csv").write_text("\n".join(rows) + "\n")
    return root / "said.csv"


def test_it_learns_to_spell(spoken, tmp_path):
    assert SpeechClassification.fits(spoken) is None
    assert "its column 'transcript' says what is said" in SpeechRecognition.fits(spoken)
    trained = SpeechRecognition(epochs=18, batch_size=8, learning_rate=5e-3).train(spoken, verbose=0)
    assert trained.scores.main.name == "character error rate" and trained.scores.main.value < 0.2
    assert trained.baselines[0].value > 0.4
    assert trained.answers.characters == ["a", "b"]
    said = trained.predict(str(spoken.parent / "2.wav"))[0]
    trained.save(tmp_path / "m.cenote")
    from cenote import load

    assert load(tmp_path / "m.cenote").predict(str(spoken.parent / "2.wav"))[0]["text"] == said["text"]


def test_transcripts_are_numbers_from_one():
    made = Transcripts.fit(["It's  ON.", "no"])
    assert made.characters == [" ", "'", "i", "n", "o", "s", "t"]
    y = made(["Non-it", ""])
    assert y.tolist() == [[4, 5, 4, 1, 3, 7], [0] * 6] and made.back(y[0]) == "non it"
    assert made(["q no"]).tolist() == [[1, 4, 5]]  # what training has not seen is left out
    assert Transcripts.restore(made.config(), {}).characters == made.characters
    assert Transcripts.fit(["你好"]).back([1, 2]) in ("你好", "好你")
    with pytest.raises(ValueError, match="no transcript has a letter"):
        Transcripts.fit(["", "..."])


def test_labels_that_are_digits_are_words(folder, tmp_path):
    for i in range(6):
        (tmp_path / f"{i % 2}_x{i}.wav").write_bytes((folder / "low_v0z_0.wav").read_bytes())
    assert sorted(set(SpeechRecognition().read(tmp_path).targets.tolist())) == ["one", "zero"]


# -- decoding ------------------------------------------------------------------------------------------------------------


def exact(logits):
    """The most probable labelling by going through all paths."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    totals = {}
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        labels = tuple(k for k, _ in itertools.groupby(path) if k)
        totals[labels] = totals.get(labels, 0.0) + float(np.prod([row[k] for row, k in zip(p, path, strict=True)]))
    best = max(totals, key=totals.get)
    return list(best), np.log(totals[best]), totals


def test_the_search_finds_the_most_probable_text():
    draw = np.random.RandomState(0)
    worse = 0
    for _ in range(20):
        logits = draw.randn(5, 3)
        labels, log_p, totals = exact(logits)
        found, found_p = prefix_search(logits, width=1000)
        assert found == labels and found_p == pytest.approx(log_p, abs=1e-9)
        worse += totals[tuple(best_path(logits))] < np.exp(log_p) - 1e-12
    assert worse > 0  # for the best path alone is often not it


def test_repeated_labels_need_a_blank_between():
    def sure(path):
        return np.log(np.eye(3)[path] + 1e-7)

    assert best_path(sure([1, 1, 0, 1, 2])) == prefix_search(sure([1, 1, 0, 1, 2]), 4)[0] == [1, 1, 2]
    assert prefix_search(sure([1, 1, 1]), 4)[0] == [1]
    assert prefix_search(sure([0] * 3000), 4)[0] == []  # long, and no underflow
    with pytest.raises(ValueError, match="at least one prefix"):
        prefix_search(np.zeros((2, 2)), 0)
