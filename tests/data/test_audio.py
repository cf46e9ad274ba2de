"""Recordings: every way they come in, how they are resampled, what is made of them, and what is said of broken ones."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from cenote.data.audio import AudioPreparation, Recordings, decode, read, resample
from cenote.data.examples import Examples
from cenote.files import BadFile


def tone(seconds=0.25, rate=8000, pitch=440.0, level=0.5):
    return (level * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def wav(samples, rate=8000):
    values = (np.atleast_2d(samples.T).T * 32767).round().astype("<i2")
    size, channels = values.nbytes, values.shape[1]
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, channels, rate, rate * 2, 2, 16, b"data", size
    )
    return head + values.tobytes()


def digits(folder, speakers=("ann", "bo"), takes=3):
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(3):
        for who in speakers:
            for take in range(takes):
                pitch = 300 + 200 * digit + 10 * take + hash(who) % 7
                (folder / f"{digit}_{who}_{take}.wav").write_bytes(wav(tone(0.2 + 0.02 * take, pitch=pitch)))
    return folder


# -- one file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_wav_of_every_kind_is_read_as_soundfile_reads_it(kind, form):
    soundfile = pytest.importorskip("soundfile")
    samples = np.random.RandomState(0).uniform(-1, 1, (301, 2))
    file = io.BytesIO()
    soundfile.write(file, samples, 22050, kind, format=form)
    mine, rate = decode(file.getvalue(), "x.wav")
    file.seek(0)
    assert rate == 22050 and np.abs(mine - soundfile.read(file)[0].mean(1)).max() < 1e-7


@pytest.mark.parametrize("form", ["FLAC", "OGG"])
def test_other_formats_are_read_by_soundfile(form):
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, tone(1.0), 8000, format=form)
    mine, rate = decode(file.getvalue(), "x." + form.lower())
    assert rate == 8000 and np.abs(mine - tone(1.0)).max() < (1e-4 if form == "FLAC" else 0.05)


def test_without_soundfile_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"x\.flac is no WAV file.*cenote\[audio\]"):
        decode(b"fLaC....", "x.flac")


GOOD = wav(tone(0.01))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"x\.wav is empty \(0 bytes\)"),
        (b"hello, world", r"x\.wav is no WAV file"),
        (GOOD[:100], r"x\.wav is cut off: its head says 160 bytes of sound, but 56 follow"),
        (GOOD[:30], r"x\.wav is cut off in its head"),
        (wav(np.zeros(0)), r"x\.wav holds no sound: 0 samples"),
        (GOOD[:20] + struct.pack("<H", 85) + GOOD[22:], r"a kind that is not read \(code 85, 16 bits\)"),
        (GOOD[:22] + struct.pack("<H", 0) + GOOD[24:], r"0 channels"),
        (GOOD[:36] + b"junk" + GOOD[40:], r"it has no sound in it"),
    ],
)
def test_what_is_no_recording_is_named(data, said):
    with pytest.raises(BadFile, match=said):
        decode(data, "x.wav")


def test_a_stream_that_did_not_know_its_length_is_read_to_its_end():
    endless = GOOD[:40] + struct.pack("<I", 0xFFFFFFFF) + GOOD[44:]
    assert (decode(endless)[0] == decode(GOOD)[0]).all()


# -- resampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (44100, 16000), (48000, 16000), (16000, 8000), (22050, 8000)])
def test_tones_keep_their_pitch_and_what_cannot_be_held_is_gone(rate, wanted):
    low = 0.4 * min(rate, wanted)
    y = resample(tone(1.0, rate, low), rate, wanted)
    assert len(y) == wanted and y.dtype == np.float32
    assert np.abs(y - tone(1.0, wanted, low))[400:-400].max() < 2e-5
    if wanted < rate:
        assert np.abs(resample(tone(1.0, rate, 0.55 * wanted), rate, wanted))[400:-400].max() < 5e-5


def test_resampling_agrees_with_scipy():
    signal = pytest.importorskip("scipy.signal")
    x = np.convolve(np.random.RandomState(0).randn(6000), np.hanning(30) / 15, "same").astype(np.float32)
    ours, theirs = resample(x, 44100, 16000), signal.resample_poly(x.astype(float), 160, 441, window=("kaiser", 9.0))
    assert np.sqrt(np.mean((ours - theirs)[100:-100] ** 2)) < 0.01 * x.std()


def test_long_sounds_are_resampled_in_blocks_without_seams():
    x = tone(6.0, 48000, 1000.0)
    y = resample(x, 48000, 8000)
    assert np.abs(y - tone(6.0, 8000, 1000.0))[50:-50].max() < 2e-5
    with pytest.raises(ValueError, match="positive whole number"):
        resample(x, 48000, 0)
    with pytest.raises(ValueError, match="samples of one channel"):
        resample(np.zeros((2, 9)), 8000, 4000)


# -- sources -------------------------------------------------------------------------------------------------------------


def test_labels_and_speakers_in_file_names(tmp_path):
    found = read(digits(tmp_path / "few"))
    assert found.kind == "audio" and found.targets.tolist() == ["0"] * 6 + ["1"] * 6 + ["2"] * 6
    assert found.groups is None and any("2 speakers seem to be named" in f.text for f in found.findings)
    kept = read(tmp_path / "few", speakers=True)
    assert set(kept.groups.tolist()) == {"ann", "bo"}
    many = read(digits(tmp_path / "many", [f"v{i}x" for i in range(12)], 2))
    assert len(set(many.groups.tolist())) == 12 and any("each is in one part only" in f.text for f in many.findings)
    assert read(tmp_path / "many", speakers=False).groups is None
    (tmp_path / "few" / "room noise.wav").write_bytes(GOOD)
    odd = read(tmp_path / "few", speakers=True)
    assert odd.targets.tolist() == found.targets.tolist() and odd.groups.tolist() == kept.groups.tolist()
    assert any("1 recordings are not named like the other 18" in f.text and "room noise.wav" in f.text for f in odd.findings)


def test_class_folders_and_zip(tmp_path):
    for word in ("yes", "no"):
        (tmp_path / "words" / word).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "words" / word / f"{i}.wav").write_bytes(wav(tone(0.1 * (i + 1))))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        for path in sorted((tmp_path / "words").rglob("*.wav")):
            z.write(path, path.relative_to(tmp_path).as_posix())
    folder, packed = read(tmp_path / "words"), read(tmp_path / "a.zip")
    assert folder.targets.tolist() == packed.targets.tolist() == ["no"] * 3 + ["yes"] * 3
    assert (folder.inputs.fingerprints() == packed.inputs.fingerprints()).all()
    assert folder.inputs.seconds.round(2).tolist() == [0.1, 0.2, 0.3] * 2


def test_a_table_of_transcripts(tmp_path):
    (tmp_path / "clips").mkdir()
    for i in range(3):
        (tmp_path / "clips" / f"{i}.wav").write_bytes(GOOD)
    (tmp_path / "t.tsv").write_text("path\tsentence\tclient_id\n0.wav\tHello; you\ta\n1.wav\tBye.\tb\n2.wav\tHm\ta\n")
    found = read(tmp_path / "t.tsv", transcripts=True)
    assert found.targets.tolist() == ["Hello; you", "Bye.", "Hm"] and found.groups.tolist() == ["a", "b", "a"]
    assert read(tmp_path / "t.tsv", transcripts=True, speakers=False).groups is None


def test_broken_files_are_listed_and_skipped_only_when_asked(tmp_path):
    digits(tmp_path)
    (tmp_path / "1_ann_0.wav").write_bytes(GOOD[:90])
    (tmp_path / "2_bo_1.wav").write_bytes(b"")
    with pytest.raises(BadFile, match=r"2 of 18 recordings cannot be read.*1_ann_0\.wav is cut off.*skip_broken=True"):
        read(tmp_path)
    found = read(tmp_path, skip_broken=True)
    assert len(found) == 16 == len(found.targets) and any("2_bo_1.wav is empty" in f.text for f in found.findings)
    (tmp_path / "1_ann_0.wav").write_bytes(wav(np.zeros(500)))
    assert any("1 recordings are silent" in f.text for f in read(tmp_path, skip_broken=True).findings)


def test_sources_without_recordings_or_labels_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="holds no recordings"):
        read(tmp_path)
    for name in ("hum", "a bang", "z"):
        (tmp_path / f"{name}.wav").write_bytes(GOOD)
    with pytest.raises(ValueError, match="nothing says their classes"):
        read(tmp_path)
    with pytest.raises(ValueError, match="3 recordings, but there are 2 labels"):
        read(tmp_path, ["a", "b"])
    paths = sorted(map(str, tmp_path.glob("*.wav")))
    assert read((paths, ["a", "b", "a"])).targets.tolist() == ["a", "b", "a"]
    assert len(read(tmp_path, labelled=False)) == 3
    with pytest.raises(ValueError, match=r"no recording: give a path, or \(samples, rate\)"):
        read([np.zeros(5)], ["a"])


# -- preparation ---------------------------------------------------------------------------------------------------------


def examples_of(pairs):
    return Examples("audio", Recordings.hear(pairs)[0])


def test_rate_and_length_follow_from_the_data():
    made = AudioPreparation.fit(examples_of([(tone(0.3), 8000), (tone(0.42), 8000), (tone(0.3, 44100), 44100)]))
    assert made.rate == 8000 and made.length == 3600 and "most have it" in made.describe()[0]
    assert AudioPreparation.fit(examples_of([(tone(0.5, 44100), 44100)])).rate == 16000
    assert AudioPreparation.fit(examples_of([(tone(0.3), 8000)]), rate=4000, seconds=1).length == 4000
    odd = AudioPreparation.fit(examples_of([(tone(0.2), 8000)] * 99 + [(tone(3.0), 8000)]))
    assert odd.seconds == 0.2 and "1 of 100 recordings are longer" in odd.findings[0].text


def test_recordings_become_equally_long_and_loud():
    made = AudioPreparation(8000, 2000)
    quiet, stereo = tone(0.2, level=0.05), np.stack([tone(0.5, 16000), tone(0.5, 16000)], 1)
    x = made([(quiet, 8000), (stereo, 16000)])
    assert x.shape == (2, 2000) and x.dtype == np.float32 and (x[0, 1600:] == 0).all()
    assert np.abs(x).max(1).tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    assert np.abs(AudioPreparation(8000, 2000, level=False)([(quiet, 8000)])).max() == pytest.approx(0.05, abs=1e-4)


def test_of_long_recordings_the_loudest_stretch_is_taken():
    x = np.concatenate([np.zeros(8000, np.float32), tone(0.2), np.zeros(8000, np.float32)])
    made = AudioPreparation(8000, 1600)([(x, 8000)])
    assert np.abs(made[0] - tone(0.2) / tone(0.2).max() * 0.5).max() < 0.01


def test_raw_takes_what_people_hand_to_predict(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(tone(0.2)))
    made = AudioPreparation(8000, 1600)
    samples = decode(path.read_bytes())[0]
    expected = made([(samples, 8000)])
    for source in (path, str(path), [path], (samples, 8000), [(samples, 8000)], samples, [samples]):
        assert (made(made.raw(source)) == expected).all(), type(source)
    assert len(made(made.raw(tmp_path))) == 1 and len(made.raw([])) == 0
    with pytest.raises(FileNotFoundError, match="there is no file"):
        made.raw("nowhere.wav")


def test_a_preparation_is_restored_from_json():
    made = AudioPreparation.fit(examples_of([(tone(0.3), 8000)] * 3))
    again = AudioPreparation.restore(json.loads(json.dumps(made.config())), {})
    assert (again([(tone(0.2), 8000)]) == made([(tone(0.2), 8000)])).all() and again.describe() == made.describe()
    for bad in ({}, {**made.config(), "length": 1 << 40}, {**made.config(), "rate": 0}):
        with pytest.raises(ValueError):
            AudioPreparation.restore(bad, {})


def test_real_digits(data_folder):
    found = read(data_folder / "free-spoken-digit" / "recordings.zip")
    assert len(found) == 3000 and sorted(set(found.targets.tolist())) == [str(i) for i in range(10)]
    assert found.about["rates"] == {"8000": 3000} and abs(found.inputs.seconds.mean() - 0.44) < 0.01
