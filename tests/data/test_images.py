"""Pictures: every way they come in, what is made of them, and what is said of broken ones."""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cenote.data.examples import Examples
from cenote.data.images import ImagePreparation, Pictures, read
from cenote.data.images import decode as decoding
from cenote.data.images.idx import read_idx
from cenote.files import BadFile


def noise(height=12, width=16, channels=3, seed=0):
    values = np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values)


def plain(colour, size=(16, 12)):
    return Image.new("RGB", size, colour)


def bytes_of(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def class_folder(root, per_class=3, classes=("ants", "bees"), **options):
    for i, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for k in range(per_class):
            noise(seed=10 * i + k, **options).save(root / name / f"{k}.png")
    return root


def upright(data, **options):
    return np.asarray(decoding.decode(data, "x", **options))


# -- one picture ---------------------------------------------------------------------------------------------------------


def test_modes_become_grey_or_colour_of_eight_bits():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (upright(bytes_of(Image.fromarray(grey))) == grey).all()
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert deep.mode == "I;16" and (upright(bytes_of(deep)) == grey).all()
    assert set(np.unique(upright(bytes_of(Image.fromarray(grey > 99))))) == {0, 255}
    palette = noise().quantize(8)
    assert (upright(bytes_of(palette)) == np.asarray(palette.convert("RGB"))).all()
    floats = Image.fromarray((grey / 255).astype(np.float32))
    assert np.abs(upright(bytes_of(floats, "TIFF")).astype(int) - grey).max() <= 1
    inks = plain("red").convert("CMYK")
    assert np.abs(upright(bytes_of(inks, "JPEG")).reshape(-1, 3).mean(0) - [254, 0, 0]).max() < 4


def test_what_is_transparent_becomes_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (upright(bytes_of(clear)) == 255).all()
    half = Image.new("LA", (8, 8), (0, 128))
    assert upright(bytes_of(half)).shape == (8, 8) and abs(int(upright(bytes_of(half))[0, 0]) - 127) <= 1


@pytest.mark.parametrize("form", ["PNG", "TIFF"])  # Pillow turns TIFF itself
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation, form):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = bytes_of(noise(6, 9), form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (upright(data) == expected).all()
    _, width, height = decoding.decode_sized(data)
    assert (height, width) == expected.shape[:2]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [plain("red"), plain("blue")]
    data = bytes_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (upright(data)[0, 0] == [255, 0, 0]).all()


def test_large_jpegs_are_decoded_small_and_look_the_same():
    smooth = Image.fromarray(np.linspace(0, 255, 800 * 800).reshape(800, 800).astype(np.uint8))
    data = bytes_of(smooth, "JPEG", quality=95)
    small, width, height = decoding.decode_sized(data, side=100)
    assert 100 <= min(small.size) < 200 and (width, height) == (800, 800)
    assert abs(np.asarray(small).mean() - np.asarray(smooth).mean()) < 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "x.png is empty (0 bytes)"),
        (b"hello, world", "x.png is no picture that can be read"),
        (bytes_of(noise(64, 64))[:900], "x.png is cut off or damaged: image file is truncated"),
        (bytes_of(noise(64, 64))[:40], "x.png is cut off or damaged: its 40 bytes begin as PNG, but cannot be decoded"),
        (bytes_of(noise(64, 64), "JPEG")[:700], "x.png is cut off or damaged: image file is truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture"),  # whose reader starts a program
    ],
)
def test_what_is_no_picture_is_named(data, said):
    with pytest.raises(BadFile, match=r"x\.png") as error:
        decoding.decode(data, "x.png")
    assert said in str(error.value)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
    data = head + struct.pack(">I", __import__("zlib").crc32(head[12:])) + struct.pack(">I4sI", 0, b"IEND", 0xAE426082)
    with pytest.raises(BadFile, match="pixels"):
        decoding.decode(data, "bomb.png")


# -- folders and archives ------------------------------------------------------------------------------------------------


def test_class_folders(tmp_path):
    found = read(class_folder(tmp_path))
    assert found.kind == "image" and found.targets.tolist() == ["ants"] * 3 + ["bees"] * 3 and found.parts is None
    assert found.names[0].endswith("ants/0.png") and found.inputs[0].shape == (12, 16, 3)
    assert found.take([5, 0]).targets.tolist() == ["bees", "ants"] and len(found.take([5, 0]).inputs) == 2
    assert len(set(found.inputs.fingerprints().tolist())) == 6


def test_folders_of_parts(tmp_path):
    for part in ("train", "Val", "test"):
        class_folder(tmp_path / "photos" / part, 2)
    found = read(tmp_path)
    assert sorted(set(found.parts.tolist())) == ["test", "train", "validation"] and len(found) == 12
    assert set(found.targets.tolist()) == {"ants", "bees"}
    assert any("the folders say the parts" in f.text for f in found.findings)


def test_archives_are_read_like_folders(tmp_path):
    class_folder(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z, tarfile.open(tmp_path / "a.tar.gz", "w:gz") as t:
        for path in sorted((tmp_path / "in").rglob("*.png")):
            name = path.relative_to(tmp_path).as_posix()
            z.write(path, name)
            t.add(path, name)
    folder = read(tmp_path / "in")
    for name in ("a.zip", "a.tar.gz"):
        found = read(tmp_path / name)
        assert found.targets.tolist() == folder.targets.tolist()
        assert (found.inputs.fingerprints() == folder.inputs.fingerprints()).all()


def test_archives_cannot_lead_outside(tmp_path):
    for name, member in (("a.zip", "../evil.png"), ("b.zip", "/etc/x.png")):
        with zipfile.ZipFile(tmp_path / name, "w") as z:
            z.writestr(member, bytes_of(noise()))
        with pytest.raises(BadFile, match="leads out of the archive"):
            read(tmp_path / name)
    with tarfile.open(tmp_path / "c.tar", "w") as t:
        info = tarfile.TarInfo("a/../../evil.png")
        t.addfile(info, io.BytesIO(b""))
    with pytest.raises(BadFile, match="leads out of the archive"):
        read(tmp_path / "c.tar")
    (tmp_path / "half.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:40])
    with pytest.raises(BadFile, match="not a whole archive"):
        read(tmp_path / "half.zip")


def test_a_changed_archive_is_read_anew(tmp_path):
    for colour in ("red", "blue"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
            for i in range(2):
                z.writestr(f"{'ab'[i]}/{i}.png", bytes_of(plain(colour, (8 + len(colour), 8))))
        found = read(tmp_path / "a.zip")
        assert np.array(found.inputs[0])[0, 0].tolist() == ([255, 0, 0] if colour == "red" else [0, 0, 255])


def test_a_damaged_compressed_archive_is_named(tmp_path):
    class_folder(tmp_path / "in", 20)
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz") as t:
        t.add(tmp_path / "in")
    data = (tmp_path / "a.tar.xz").read_bytes()
    (tmp_path / "a.tar.xz").write_bytes(data[:9000] + b"nonsense" + data[9008:])
    with pytest.raises(BadFile, match=r"a\.tar\.xz is not a whole archive"):
        read(tmp_path / "a.tar.xz")


def test_pipes_are_not_waited_for(tmp_path):
    class_folder(tmp_path)
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    os.mkfifo(tmp_path / "ants" / "p.png")
    with pytest.raises(BadFile, match=r"1 of 7 pictures cannot be read.*p\.png is no file with a content, but a pipe"):
        read(tmp_path)


def test_links_do_not_lead_outside(tmp_path):
    class_folder(tmp_path / "in")
    noise().save(tmp_path / "secret.png")
    try:
        (tmp_path / "in" / "ants" / "z.png").symlink_to(tmp_path / "secret.png")
    except OSError:
        pytest.skip("links cannot be made here")
    found = read(tmp_path / "in")
    assert len(found) == 6 and any("out of the source" in f.text and "ants/z.png" in f.text for f in found.findings)


def test_broken_files_are_listed_and_skipped_only_when_asked(tmp_path):
    class_folder(tmp_path)
    (tmp_path / "ants" / "half.png").write_bytes(bytes_of(noise(64, 64))[:500])
    (tmp_path / "bees" / "none.jpg").write_bytes(b"")
    with pytest.raises(BadFile, match=r"2 of 8 pictures cannot be read.*half\.png.*none\.jpg.*skip_broken=True"):
        read(tmp_path)
    found = read(tmp_path, skip_broken=True)
    assert len(found) == 6 == len(found.targets) == len(found.names)
    assert any("half.png" in f.text and f.severity == "warning" for f in found.findings)


def test_sources_without_pictures_or_labels_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        read(tmp_path / "photo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no pictures.*it is empty.*one folder below it for each class"):
        read(tmp_path / "empty")
    (tmp_path / "empty" / "a.docx").write_text("x")
    with pytest.raises(ValueError, match=r"it holds files 1 \.docx"):
        read(tmp_path / "empty")
    for i, name in enumerate(("sun", "moon", "a star")):
        noise(seed=i).save(tmp_path / "empty" / f"{name}.png")
    with pytest.raises(ValueError, match=r"nothing says their classes.*folder named after its class"):
        read(tmp_path / "empty")
    class_folder(tmp_path / "mixed")
    noise().save(tmp_path / "mixed" / "loose.png")
    with pytest.raises(ValueError, match="1 pictures lie outside of class folders"):
        read(tmp_path / "mixed")
    assert len(read(tmp_path / "mixed", labelled=False)) == 7


def test_labels_in_file_names(tmp_path):
    for i in range(12):
        noise(seed=i).save(tmp_path / f"{'cat' if i % 2 else 'dog'}.{i}.png")
    found = read(tmp_path)
    assert sorted(set(found.targets.tolist())) == ["cat", "dog"]
    assert any("labels were taken from the files' names" in f.text for f in found.findings)
    noise().save(tmp_path / "overview.png")
    again = read(tmp_path)
    assert again.targets.tolist() == found.targets.tolist() == [Path(n).name.split(".")[0] for n in again.names]
    assert any("1 pictures are not named like the other 12" in f.text and "overview.png" in f.text for f in again.findings)
    for i in range(4):
        noise().save(tmp_path / f"view{i}.png")
    with pytest.raises(ValueError, match=r"nothing says their classes .*5 are not named like the others: overview\.png"):
        read(tmp_path)


# -- tables --------------------------------------------------------------------------------------------------------------


def pictures_in(folder, count=4):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        noise(seed=i).save(folder / f"{i}.png")


def test_a_table_of_names_and_labels(tmp_path):
    pictures_in(tmp_path / "img")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\n" + "".join(f"{i}.png,{'ab'[i % 2]},{'train' if i else 'test'}\n" for i in range(4)))
    for source in (table, tmp_path):
        found = read(source)
        assert found.targets.tolist() == ["a", "b", "a", "b"] and found.parts.tolist() == ["test"] + ["train"] * 3
    table.write_text("id\ttags\n0\ta;b\n1\tb\n2\t\n3\ta\n")
    assert read(table).targets == [("a", "b"), ("b",), (), ("a",)]
    table.write_text("id,sun,sea\n0,1,1\n1,0,1\n2,0,0\n3,1,0\n")
    assert read(table).targets == [("sun", "sea"), ("sea",), (), ("sun",)]
    with pytest.raises(ValueError, match="no column 'see': did you mean 'sea'"):
        read(table, target="see")
    assert read(table, target=-1).targets.tolist() == ["1", "1", "0", "0"]
    table.write_text("id,sun,sea\n0,1,1\n1,0,1\n2,0,2\n3,1,0\n")
    with pytest.raises(BadFile, match="row 4: 'sea' holds '2', but of several target columns each must hold 0 or 1"):
        read(table, target=["sun", "sea"])


def test_a_table_beside_an_archive_takes_ends_of_names_only_where_they_are_clear(tmp_path):
    class_folder(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(tmp_path / "out" / "a.zip", "w") as z:
        for name in ("ants/0", "bees/0", "bees/1"):
            z.write(tmp_path / "in" / f"{name}.png", f"all/data/{name}.png")
    table = tmp_path / "out" / "t.csv"
    table.write_text("file,label\nants/0.png,a\nbees/0.png,b\n1,b\n")
    found = read(table)
    assert [n.split(":")[1] for n in found.names] == [f"all/data/{n}.png" for n in ("ants/0", "bees/0", "bees/1")]
    table.write_text("file,label\nants/0.png,a\n0.png,b\n1.png,b\n")
    with pytest.raises(BadFile, match=r"names 1 of 3 pictures that are not there \(row 3: 0.png\)"):
        read(table)


def test_tables_are_checked(tmp_path):
    pictures_in(tmp_path / "img")
    noise().save(tmp_path.parent / "outside.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.png,a\n1.png,b\n2.png,a\n9.png,b\n")
    with pytest.raises(BadFile, match=r"names 1 of 4 pictures that are not there \(row 5: 9.png\)"):
        read(table)
    table.write_text("file,label\nimg/0.png,a\nimg/1.png,b\nimg/2.png,b\n../outside.png,b\n")
    with pytest.raises(BadFile, match="leads out of the folder"):
        read(table)
    table.write_bytes("file,label\n0.png,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(BadFile, match="row 2: the byte 0xe9 is no UTF-8"):
        read(table)
    table.write_text("file,label\n0.png,a\n1.png,b,c\n")
    with pytest.raises(BadFile, match="row 3 has 3 cells, but the first row has 2"):
        read(table)
    table.write_text('file,label\n0.png,"a\n1.png,b\n')
    with pytest.raises(BadFile, match="row 2 cannot be read: a quotation mark is not closed"):
        read(table)
    table.write_text("file,label,label\n0.png,a,b\n")
    with pytest.raises(BadFile, match="several columns called 'label'"):
        read(table)
    table.write_text("name,label\nx,a\ny,b\n")
    with pytest.raises(ValueError, match="has no column that names pictures"):
        read(table)


# -- arrays --------------------------------------------------------------------------------------------------------------


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def test_idx_files_find_their_labels_and_parts(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (6, 9, 7)).astype(np.uint8)
    y = np.arange(6, dtype=np.uint8) % 2
    for part, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x[rows])))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(y[rows]))
    found = read(tmp_path)
    assert found.parts.tolist() == ["test"] * 2 + ["train"] * 4 and found.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert (found.inputs == np.r_[x[4:], x[:4]]).all()
    assert len(read(tmp_path / "train-images-idx3-ubyte.gz")) == 4
    (tmp_path / "bad-idx").write_bytes(idx(x)[:-3])
    with pytest.raises(BadFile, match="its head says 6x9x7 values of 1 bytes, but 375 bytes follow"):
        read_idx(tmp_path / "bad-idx")


def test_arrays_of_many_kinds(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (6, 5, 7, 3)).astype(np.uint8)
    y = np.arange(6) % 2
    bytes_ = ImagePreparation.fit(read((x, y)))(x)
    assert (bytes_ == x).all()
    for values in (x / 255.0, x / 127.5 - 1.0, x.astype(np.uint16) * 257, np.moveaxis(x, -1, 1)):
        found = read((values, y))
        assert np.abs(ImagePreparation.fit(found)(found.inputs).astype(int) - x).max() <= 1, values.dtype
    parted = read(((x[:4], y[:4]), (x[4:], y[4:])))
    assert parted.parts.tolist() == ["train"] * 4 + ["test"] * 2
    np.savez(tmp_path / "a.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:], classes=np.array(["no", "yes"]))
    assert read(tmp_path / "a.npz").targets.tolist() == ["no", "yes"] * 3
    one_of = np.eye(2)[y]
    assert read(((x[:4], one_of[:4]), (x[4:], one_of[4:]))).targets.tolist() == y.tolist() == read((x, one_of)).targets.tolist()
    assert read((x, [[1, 1], [0, 1], [0, 0]] * 2)).targets == [("1", "1"), ("0", "1"), ("0", "0")] * 2  # names, as lists are
    several = np.array([[1, 1], [0, 1], [0, 0]] * 2)
    assert read(((x[:3], several[:3]), (x[3:], several[3:]))).targets == [("0", "1"), ("1",), ()] * 2
    clear = np.concatenate([x, np.full((6, 5, 7, 1), 255, np.uint8)], 3)
    clear[0, ..., 3] = 0
    assert (read((clear, y)).inputs[1:] == x[1:]).all() and (read((clear, y)).inputs[0] == 255).all()
    with pytest.raises(ValueError, match="6 pictures, but there are 5 labels"):
        read((x, y[:5]))
    with pytest.raises(ValueError, match="picture 1 of the array has values that are no finite numbers"):
        read((np.where(np.arange(6)[:, None, None, None] == 1, np.nan, x), y))
    with pytest.raises(ValueError, match=r"pictures must be an array \(picture, height, width\)"):
        read((np.zeros((6, 5)), y))
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    with pytest.raises(BadFile, match="holds no plain numpy arrays"):
        read(tmp_path / "b.npz")


# -- preparation ---------------------------------------------------------------------------------------------------------


def examples_of(images):
    return Examples("image", Pictures.look([np.asarray(i) for i in images])[0], np.zeros(len(images)))


def test_size_and_mode_follow_from_the_data():
    same = ImagePreparation.fit(examples_of([noise(seed=i) for i in range(4)]))
    assert same.shape == (12, 16, 3) and "all pictures have it" in " ".join(same.describe())
    grey = ImagePreparation.fit(examples_of([noise(channels=1, seed=i).convert("RGB") for i in range(4)]))
    assert grey.mode == "L" and "stored in colour" in " ".join(grey.describe())
    wide = ImagePreparation.fit(examples_of([noise(200 + i, 400 + 2 * i, seed=i) for i in range(4)]))
    assert 1.9 < wide.width / wide.height < 2.2 and wide.height % 8 == wide.width % 8 == 0 and wide.width < 200
    mixed = ImagePreparation.fit(examples_of([noise(100, 160), noise(200, 110), noise(90, 90), noise(300, 120)]))
    assert mixed.height == mixed.width
    assert ImagePreparation.fit(examples_of([noise()]), size=(8, 6), mode="L").shape == (8, 6, 1)


def test_statistics_come_from_the_training_part_alone():
    images = [noise(12, 12, seed=i) for i in range(4)] + [noise(90, 90, seed=9)]
    assert ImagePreparation.fit(examples_of(images[:4])).shape == (12, 12, 3)


def test_crop_pad_and_stretch():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    image[:, :10], image[:, 20:] = (255, 0, 0), (255, 0, 0)
    cut, padded, flat = (ImagePreparation(10, 10, fit=how)([image])[0] for how in ("crop", "pad", "stretch"))
    assert (cut == 200).all()
    assert (padded[0] == padded[-1]).all() and (padded[0, 0] == [255, 0, 0]).all()
    assert (flat[:, 5] == 200).all() and (flat[:, 0] == [255, 0, 0]).all()


def test_many_sizes_become_one_like_pillow_does_it():
    images = [noise(40 + i, 60, seed=i) for i in range(3)]
    made = ImagePreparation(20, 20, fit="stretch")(images)
    expected = np.stack([np.asarray(i.resize((20, 20), Image.Resampling.BILINEAR, reducing_gap=2.0)) for i in images])
    assert (made == expected).all()


def test_raw_takes_what_people_hand_to_predict(tmp_path):
    class_folder(tmp_path, 1)
    path = tmp_path / "ants" / "0.png"
    prepared = ImagePreparation(12, 16)
    expected = np.asarray(Image.open(path))
    for source in (path, str(path), [path], Image.open(path), expected, expected[None], [expected], expected / 255.0):
        assert (prepared(prepared.raw(source)) == expected).all(), type(source)
    assert prepared(prepared.raw(tmp_path)).shape == (2, 12, 16, 3)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        prepared.raw(tmp_path / "x.png")
    with pytest.raises(ValueError, match="a picture is"):
        prepared.raw([np.zeros(5)])


def test_a_preparation_is_restored_from_json():
    made = ImagePreparation.fit(read((np.random.RandomState(0).rand(5, 8, 9), np.arange(5) % 2)))
    again = ImagePreparation.restore(json.loads(json.dumps(made.config())), made.arrays())
    x = np.random.RandomState(1).rand(3, 20, 9)
    assert (again(x) == made(x)).all() and again.describe() == made.describe()
    for bad in ({}, {**made.config(), "height": 1 << 20}, {**made.config(), "mode": "P"}, {**made.config(), "fit": "x"}):
        with pytest.raises(ValueError):
            ImagePreparation.restore(bad, {})


def test_inverted_pictures_are_noticed():
    light = [np.where(np.arange(100).reshape(10, 10) == 45, 255, 0).astype(np.uint8) for _ in range(3)]
    made = ImagePreparation.fit(examples_of(light))
    assert made.how == "pad" and made.look([light[0]]) == []
    assert "look inverted" in made.look([255 - light[0]])[0].text


def test_real_photographs(data_folder):
    found = read(data_folder / "hymenoptera-subset")
    assert len(found) == 140 and found.about["class_counts"] == {"ants": 70, "bees": 70}
    assert np.bincount(found.parts == "train").tolist() == [40, 100]
    x = ImagePreparation.fit(found, size=64)(found.take(range(20)).inputs)
    assert x.shape == (20, 64, 64, 3) and x.std() > 30


def test_real_digits(data_folder):
    found = read(data_folder / "mnist")
    train = found.inputs[found.parts == "train"]
    assert train.shape == (60000, 28, 28) and abs(train.mean() / 255 - 0.1307) < 1e-4
