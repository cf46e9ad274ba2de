"""Image classification: what it chooses, that it learns, and that what it saves takes raw pictures."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from cenote.data.examples import Examples
from cenote.tasks.images import ImageClassification, epochs_for, mirror_share
from cenote.tasks.linear import edges_and_colours, shrunk


def squares(count=60, seed=0):
    """Bright squares on noise, large or small: what they show does not depend on left and right."""
    draw = np.random.RandomState(seed)
    x = draw.randint(0, 60, (count, 16, 16)).astype(np.uint8)
    y = np.arange(count) % 2
    for picture, large in zip(x, y, strict=True):
        side = 9 if large else 4
        top, left = draw.randint(0, 16 - side, 2)
        picture[top : top + side, left : left + side] = 230
    return x, np.array(["small", "large"])[y]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("squares")
    x, y = squares(80)
    for i, (picture, name) in enumerate(zip(x, y, strict=True)):
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(folder):
    return ImageClassification(epochs=12, batch_size=16).train(folder, verbose=0)


def test_it_learns_from_a_folder(trained):
    assert trained.scores.main.name == "accuracy" and trained.scores.main.value > 0.85
    names = [b.name for b in trained.baselines]
    assert names == ["majority class", "logistic regression", "edges and colours"]
    assert trained.baselines[0].value == 0.5


def test_it_takes_raw_pictures_and_says_what_they_are(trained, folder, tmp_path):
    path = sorted((folder / "large").iterdir())[0]
    answer = trained.predict(str(path))[0]
    assert answer["source"].endswith(path.name) and answer["label"] in ("small", "large")
    big = Image.open(path).resize((200, 200)).convert("RGBA")
    again = trained.predict(big)[0]
    assert again["label"] == answer["label"]
    trained.save(tmp_path / "m.cenote")
    from cenote import load

    loaded = load(tmp_path / "m.cenote")
    assert loaded.predict(str(path))[0]["probability"] == pytest.approx(answer["probability"], abs=1e-5)
    assert loaded.evaluate(folder).count == 80


def test_it_says_what_it_chose_and_why(folder):
    job = ImageClassification().plan(folder)
    said = job.announcement()
    for text in (
        "cnn",
        "2 classes: large, small",
        "16x16: all pictures have it",
        "mirrored",
        "shifts up to 10%",
        "softened by 0.1",
    ):
        assert text in said, text
    assert job.choice.batch_size == 16 and job.choice.monitor == "loss"
    # Nothing is held out that nothing is chosen by, unless the user wants it.
    assert job.parts.counts() == {"train": 64, "validation": 0, "test": 16} and "validation part is too small" in said
    assert ImageClassification().plan(folder, validation=0.1).parts.counts() == {"train": 56, "validation": 8, "test": 16}


def test_every_choice_can_be_replaced(folder):
    job = ImageClassification(model="resnet", size=12, mode="RGB", flip=False, augment=False, epochs=3).plan(folder)
    assert job.choice.name == "resnet" and job.choice.augment is None and job.choice.epochs == 3
    assert job.task.preparation.shape == (12, 12, 3)
    for kind in ("mlp", "linear"):
        assert ImageClassification(model=kind).plan(folder).choice.name == kind
    with pytest.raises(ValueError, match="unknown model of image-classification 'vgg'"):
        ImageClassification(model="vgg")
    with pytest.raises(ValueError, match="unknown option of image-classification 'sise': did you mean 'size'"):
        ImageClassification(sise=3)


def test_networks_and_effort_follow_from_size_and_number():
    def plan(count, side, colours):
        task = ImageClassification()
        x = np.random.RandomState(0).randint(0, 256, (64, side, side, colours)).astype(np.uint8)
        training = Examples("image", x, np.arange(64) % 2)
        task.preparation, task.answers = task.prepare(training)
        training.inputs = np.broadcast_to(x[:1], (count, side, side, colours))
        return task.choose(training, x, task.arrays(Examples("image", x, np.arange(64) % 2))[1])

    small, large = plan(60000, 28, 1), plan(600, 128, 3)
    assert (small.name, large.name) == ("cnn", "resnet") and small.batch_size > large.batch_size
    assert large.epochs > small.epochs >= 8
    assert epochs_for(50000, 1e9, 15)[0] == 8 and epochs_for(100, 1e6, 120)[0] == 120


def test_very_few_photographs_get_filters_from_their_patches(tmp_path):
    draw = np.random.RandomState(0)
    x = draw.randint(0, 40, (40, 56, 56, 1)).astype(np.uint8)
    y = np.arange(40) % 2
    for picture, vertical in zip(x, y, strict=True):  # stripes on a part of the picture
        top, left = draw.randint(0, 16, 2)
        part = picture[top : top + 40, left : left + 40, 0]
        (part[:, ::5] if vertical else part[::5])[...] = 220
    trained = ImageClassification(epochs=1).train((x, np.array(["across", "down"])[y]), verbose=0)
    assert trained.job.choice.name == "patches" and trained.scores.main.value == 1.0
    network = trained.model.layers[0]
    assert "too few to train filters on" in trained.job.announcement() and network.side == 5
    trained.save(tmp_path / "m.cenote")
    from cenote import load

    assert load(tmp_path / "m.cenote").predict(x[:1]) == trained.predict(x[:1])
    job = ImageClassification(epochs=2).plan((x, [[("a", "b")[k]] * (i % 3 > 0) for i, k in enumerate(y)]))
    job.fit(verbose=0)  # several labels: the last layer begins with nothing
    assert job.choice.name == "patches" and job.outcome.history.records[-1]["loss"] < np.log(2)


def test_mirrored_pictures_only_where_left_and_right_are_alike(data_folder):
    from cenote.data.images import read

    digits = read(data_folder / "mnist").take(np.arange(10000, 12000))
    assert mirror_share(digits.inputs[..., None], digits.targets) > 0.75
    photos = read(data_folder / "cifar10" / "cifar10-small.npz")
    numbers = np.unique(photos.targets, return_inverse=True)[1]
    assert mirror_share(photos.inputs, numbers) < 0.6
    arrows = np.zeros((100, 8, 8, 1), np.uint8)
    arrows[::2, :, :3], arrows[1::2, :, 5:] = 200, 200  # as many to the left as to the right, but each has its class
    assert mirror_share(arrows, np.arange(100) % 2) == 1.0
    assert mirror_share(arrows[:6], np.arange(6) % 2) is None


def test_several_labels(tmp_path):
    draw = np.random.RandomState(0)
    rows = ["file,labels"]
    for i in range(60):
        picture, labels = draw.randint(0, 60, (12, 12, 3)), []
        for channel, name in ((0, "red"), (2, "blue")):
            if draw.rand() < 0.5:
                picture[..., channel] += 150
                labels.append(name)
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{';'.join(labels)}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    task = ImageClassification(epochs=12, model="linear", learning_rate=0.02)
    assert task.fits(tmp_path / "labels.csv") == "its column 'file' names pictures"
    trained = task.train(tmp_path / "labels.csv", verbose=0)
    assert trained.scores.main.name == "F1" and trained.scores.main.value > 0.8
    assert set(trained.predict(tmp_path / "1.png")[0]["labels"]) <= {"red", "blue"}


def test_larger_than_memory_gives_the_same(folder, monkeypatch):
    from cenote.tasks import images

    jobs = []
    for most in (1 << 30, 1000):
        monkeypatch.setattr(images, "_most_bytes", lambda most=most: most)
        jobs.append(ImageClassification(epochs=1, model="linear", seed=3).plan(folder))
        jobs[-1].fit(verbose=0)
    (x, y), streamed = jobs[0].data, jobs[1].data
    for (part, labels), start in zip(streamed(20, None), (0, 20, 40, 60), strict=True):
        assert (part == x[start : start + 20]).all() and (labels == y[start : start + 20]).all()
    assert jobs[1].outcome.history.records[0]["loss"] == pytest.approx(jobs[0].outcome.history.records[0]["loss"], rel=0.1)


def test_what_looks_like_pictures(folder, tmp_path):
    fits = ImageClassification.fits
    assert "it holds pictures, such as large/" in fits(folder)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 1, 2, 2) + b"1234")
    )
    assert "IDX file of pictures" in fits(tmp_path)
    assert fits((np.zeros((5, 9, 9), np.uint8), np.zeros(5))) == "an array of pictures"
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert fits(tmp_path / "a.csv") is None and fits(np.zeros((5, 9))) is None and fits("some text") is None


def test_one_class_is_refused(tmp_path):
    (tmp_path / "ants").mkdir()
    for i in range(4):
        Image.fromarray(np.random.RandomState(i).randint(0, 255, (8, 8)).astype(np.uint8)).save(
            tmp_path / "ants" / f"{'abcd'[i]}.png"
        )
    with pytest.raises(ValueError, match=r"one value only, .*ants.*nothing to tell apart"):
        ImageClassification().train(tmp_path, verbose=0)


def test_features_of_pictures():
    stripes = np.zeros((2, 32, 32, 3), np.uint8)
    stripes[0, :, ::8] = 255
    stripes[1, ::8] = 255
    edges = edges_and_colours(stripes)[:, : 4 * 4 * 8].reshape(2, 16, 8).sum(1)
    assert edges[0].argmax() == 0 and edges[1].argmax() == 4  # across, and a half turn of half on
    assert shrunk(stripes, 16).shape == (2, 16 * 16 * 3)
