"""Evaluate, predict and summary on the trained run: pictures, folders, rows, and files that are not what they should be."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import cenote as cn
from cenote import layers
from cenote.cli.main import main


@pytest.fixture(scope="module")
def test_digits():
    return cn.datasets.digits.load_data()[1]


@pytest.fixture(scope="module")
def said(trained, test_digits):
    """What the model says of the test digits, from Python."""
    return cn.load(trained.folder / "model.cenote").outputs(test_digits[0])


@pytest.fixture
def scans(tmp_path, test_digits):
    """Digits as large pictures: light on dark as in the data, and as a scanner sees them."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(3):
        large = np.kron(test_digits[0][i] * 15.9375, np.ones((25, 25))).astype(np.uint8)
        Image.fromarray(large).save(folder / f"a{i}.png")
        Image.fromarray(255 - large).convert("RGB").save(folder / f"b{i}.bmp")
    (folder / "notes.txt").write_text("not a picture, and not looked at")
    return folder


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_evaluate_measures_the_test_part(trained, capsys):
    assert main(["evaluate", "--runs", str(trained.runs)]) == 0
    text = capsys.readouterr().out
    assert "digits-mlp/model.cenote on the test part of digits" in text.replace("\\", "/")
    assert f"Accuracy          {trained.results['accuracy']:.1%}" in text and "majority class: always answering '1'" in text
    assert main(["evaluate", str(trained.folder), "digits", "--json"]) == 0
    (found,) = lines(capsys)
    for key in ("accuracy", "interval", "right", "count", "loss", "scores", "confused"):
        assert found[key] == trained.results[key]


def test_evaluate_takes_arrays_and_writes_a_report(trained, test_digits, said, tmp_path, capsys):
    x, y = (a[:100] for a in test_digits)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    page = tmp_path / "page.html"
    words = ["evaluate", str(trained.folder / "model.cenote"), str(tmp_path / "mine.npz"), "--report", str(page)]
    assert main([*words, "--language", "zh", "--json"]) == 0
    (found,) = lines(capsys)
    assert found["count"] == 100 and found["right"] == int((said[:100].argmax(1) == y).sum())
    assert "100 个测试样本" in page.read_text("utf-8")
    assert main(["evaluate", str(trained.folder), "--report", str(page)]) == 0
    text = page.read_text("utf-8")
    assert "1,222 training, 216 validation, 359 test" in text and "--seed 0" in text


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"a": np.zeros(3)}, "a"),
        ({"x": np.zeros((4, 8, 8)), "y": np.zeros(3, int)}, "4"),
        ({"x": np.zeros((4, 8, 8)), "y": np.full(4, 11)}, "have a class that training has not seen, such as '11'"),
        ({"x": np.array([object()]), "y": np.zeros(1)}, "holds no plain numpy arrays"),
    ],
)
def test_evaluate_says_what_is_wrong_with_arrays(trained, arrays, text, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert main(["evaluate", str(trained.folder), str(tmp_path / "bad.npz")]) == 1
    error = capsys.readouterr().err
    assert text in error and "Traceback" not in error and "should not happen" not in error


def test_evaluate_says_which_run_or_data_is_missing(trained, tmp_path, capsys):
    for words, text in (
        (["digits-mlb"], "did you mean 'digits-mlp'?"),
        (["latest", "digist"], "there is no file, folder or data set 'digist': did you mean 'digits'"),
        ([str(tmp_path / "no.cenote")], "there is no file"),
        (["latest", str(tmp_path / "no.npz")], "there is no file, folder or data set"),
    ):
        assert main(["evaluate", *words, "--runs", str(trained.runs)]) == 1
        assert text in capsys.readouterr().err
    (tmp_path / "bad.cenote").write_bytes(b"nonsense")
    assert main(["evaluate", str(tmp_path / "bad.cenote")]) == 1
    assert "is truncated or not a Cenote file" in capsys.readouterr().err
    assert main(["evaluate", "--runs", str(tmp_path)]) == 1
    assert "train one with cenote train digits" in capsys.readouterr().err


def test_predict_a_folder_of_pictures(trained, scans, said, capsys):
    assert main(["predict", "latest", str(scans), "--runs", str(trained.runs), "--json"]) == 0
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert [f["source"].rpartition("s")[2][1:] for f in found] == ["a0.png", "a1.png", "a2.png", "b0.bmp", "b1.bmp", "b2.bmp"]
    for answer, row in zip(found[:3], said, strict=False):
        order = np.argsort(-row)
        assert answer["label"] == str(order[0]) and answer["runner_up"] == str(order[1])
        assert answer["probability"] == pytest.approx(float(row[order[0]]), abs=0.05)  # made small again, and rounded
    assert main(["predict", "latest", str(scans), "--runs", str(trained.runs)]) == 0
    assert "3 of 6 pictures look inverted" in capsys.readouterr().err


def test_predict_inverted_scans_as_text(trained, scans, said, capsys):
    words = ["predict", str(trained.folder), *(str(scans / f"b{i}.bmp") for i in range(3)), "--invert"]
    assert main(words) == 0
    text = capsys.readouterr().out.splitlines()
    for line, row in zip(text, said, strict=False):
        answer = line.partition(".bmp")[2]
        assert answer.startswith(f"  {row.argmax()}  ") and "then" in answer and "%" in answer and "inverted" not in answer


def test_predict_goes_on_after_a_broken_picture(trained, scans, capsys):
    (scans / "a1.png").write_bytes((scans / "a1.png").read_bytes()[:60])
    (scans / "a2.png").write_text("not a picture")
    assert main(["predict", str(trained.folder), str(scans), "nowhere.png", "--json"]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    for name in ("a1.png", "a2.png"):
        assert name in printed.err
    assert "there is no file nowhere.png" in printed.err


def rows_of(x, head=""):
    return head + "\n".join(",".join(str(int(v)) for v in row.reshape(-1)) for row in x) + "\n"


def test_predict_rows(trained, test_digits, said, tmp_path, capsys, monkeypatch):
    text = rows_of(test_digits[0][:300])
    (tmp_path / "rows.csv").write_text(",".join(f"pixel{i}" for i in range(64)) + "\n" + text, encoding="utf-8-sig")
    assert main(["predict", str(trained.folder), str(tmp_path / "rows.csv"), "--json"]) == 0
    found = lines(capsys)
    assert [f["index"] for f in found] == said[:300].argmax(1).tolist()
    assert found[0]["source"].endswith("rows.csv:2")
    np.testing.assert_allclose([f["probability"] for f in found], said[:300].max(1), atol=1e-5)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["predict", str(trained.folder), "-"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3\n", "row 1 has 3 values, but the model reads 64 (8x8)"),
        (",".join("1" * 65) + "\n", "has 65 values, but the model reads 64 (8x8); is the label among them?"),
        (",".join(["1"] * 63 + ["x"]) + "\n", "row 1, column 64: 'x' is not a number"),
        (",".join(["nan"] + ["1"] * 63) + "\n", "row 1, column 1: 'nan' is not a finite number"),
        ("", "there was nothing to predict"),
    ],
)
def test_predict_says_what_is_wrong_with_rows(trained, text, said, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text(text)
    assert main(["predict", str(trained.folder), str(tmp_path / "rows.csv")]) == 1
    assert said in capsys.readouterr().err
    (tmp_path / "rows.csv").write_bytes(b"\xff\xfe\x00\x80")
    assert main(["predict", str(trained.folder), str(tmp_path / "rows.csv")]) == 1
    assert "is not a CSV text" in capsys.readouterr().err


def test_predict_with_a_model_of_another_origin(tmp_path, capsys):
    model = cn.Sequential([layers.Dense(1, kernel_initializer="ones", input_shape=(3,))])
    model.build()
    model.save(tmp_path / "sum.cenote")
    (tmp_path / "rows.csv").write_text("1,2,3\n4,5,6\n")
    assert main(["predict", str(tmp_path / "sum.cenote"), str(tmp_path / "rows.csv"), "--json"]) == 0
    assert [f["values"] for f in lines(capsys)] == [[6.0], [15.0]]
    Image.new("L", (8, 8)).save(tmp_path / "p.png")
    assert main(["predict", str(tmp_path / "sum.cenote"), str(tmp_path / "p.png")]) == 1
    assert "give rows of 3 numbers as CSV" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "sum.cenote")]) == 1
    assert "does not say what it was trained on" in capsys.readouterr().err


def test_summary(trained, capsys):
    assert main(["summary", "latest", "--runs", str(trained.runs)]) == 0
    text = capsys.readouterr().out
    assert "image-classification, trained on digits" in text and "10 classes: 0, 1, 2" in text and "85,00" in text
    assert main(["summary", "latest", "--runs", str(trained.runs), "--json"]) == 0
    (found,) = lines(capsys)
    assert found["input"] == [8, 8, 1] and found["info"]["network"] == "mlp"
    # 64 x 256 + 256, 256 x 256 + 256, 256 x 10 + 10, and the mean and the variance of the inputs
    assert found["parameters"] == 85_002 + 2 == sum(layer["parameters"] for layer in found["layers"])
