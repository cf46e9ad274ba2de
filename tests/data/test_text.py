"""Reading texts from files, folders and tables, and turning them into arrays."""

import gzip
import itertools
import json

import numpy as np
import pytest

from cenote.data.examples import Examples
from cenote.data.split import part
from cenote.data.text.lines import Texts, essence, free_text
from cenote.data.text.ngrams import counted, grams
from cenote.data.text.pairs import read_pairs
from cenote.data.text.prepare import CorpusPreparation, PairPreparation, TextPreparation, batch_lengths, raw_texts
from cenote.data.text.read import read_classes, read_corpus
from cenote.data.text.tell import tell
from cenote.data.text.tokenize import UNKNOWN
from cenote.files import BadFile

GOOD = ["a fine film it is", "what a great story", "I liked it very much", "the best of the year"]
BAD = ["a bad film it is", "what a dull story", "I hated it very much", "the worst of the year"]


def put(path, lines, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = ("\n".join(lines) + "\n").encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def said(examples):
    return " | ".join(f.text for f in examples.findings)


# -- texts with classes ----------------------------------------------------------------------------------------------------


def test_a_table_with_a_header(tmp_path):
    rows = ["label,review", *(f"{c},{t}" for ts, c in ((GOOD, "+"), (BAD, "-")) for t in ts)]
    path = put(tmp_path / "reviews.csv", rows)
    for target in (None, "label"):
        examples = read_classes(path, target)
        assert list(examples.inputs) == GOOD + BAD and list(examples.targets) == ["+"] * 4 + ["-"] * 4
    assert examples.names[0] == "reviews.csv:2" and "column 'review'" in said(examples)
    assert tell(path, "label")[0] == tell(path)[0] == "classes"


def test_a_table_without_a_header_gzipped(tmp_path):
    path = put(tmp_path / "train.tsv.gz", [f"{t}\t{c}" for t, c in zip(GOOD + BAD, "++++----", strict=True)])
    examples = read_classes(path)
    assert examples.inputs[0] == GOOD[0] and set(examples.targets) == {"+", "-"} and examples.names[0] == "train.tsv.gz:1"


def test_a_frame_and_a_pair_of_lists():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"text": GOOD + BAD, "stars": [5] * 4 + [1] * 4})
    assert list(read_classes(frame, "stars").targets) == ["5"] * 4 + ["1"] * 4
    assert tell(frame, "stars")[0] == "classes" and tell(frame.assign(age=range(8)), "stars") is None
    assert list(read_classes((GOOD, ["+"] * 4)).targets) == ["+"] * 4


def test_lines_that_begin_with_a_label(tmp_path):
    lines = ["NUM:date When was it ?", "HUM:ind Who was it ?", "NUM:count How many ?", "HUM:gr Which team won ?"]
    path = put(tmp_path / "train.label", lines)
    assert tell(path)[0] == "classes"
    assert list(read_classes(path).targets) == ["NUM", "HUM", "NUM", "HUM"]
    assert read_classes(path, fine=True).targets[0] == "NUM:date"
    marked = put(tmp_path / "fast.txt", ["__label__a one two", "__label__b two three", "__label__a x y"])
    assert list(read_classes(marked).targets) == ["a", "b", "a"]
    put(tmp_path / "broken.label", [*lines * 100, "and no label"])
    with pytest.raises(BadFile, match="row 401: 'and no label' has no label"):
        read_classes(tmp_path / "broken.label")


def test_a_file_for_each_class_and_a_folder_for_each_class(tmp_path):
    put(tmp_path / "a" / "reviews.pos", GOOD)
    put(tmp_path / "a" / "reviews.neg", BAD)
    put(tmp_path / "a" / "README.md", ["about"])
    examples = read_classes(tmp_path / "a")
    assert sorted(set(examples.targets)) == ["neg", "pos"] and len(examples) == 8 and tell(tmp_path / "a")[0] == "classes"
    for i, (good, bad) in enumerate(zip(GOOD, BAD, strict=True)):
        put(tmp_path / "b" / "train" / "pos" / f"{i}.txt", [good])
        put(tmp_path / "b" / "test" / "neg" / f"{i}.txt", [bad])
    examples = read_classes(tmp_path / "b")
    assert dict(zip(examples.targets, examples.parts.tolist(), strict=True)) == {"pos": "train", "neg": "test"}


def test_files_named_for_their_parts_and_classes_with_names(tmp_path):
    put(tmp_path / "train.csv", [f"{1 + (t in BAD)},,{t}" for t in GOOD + BAD])
    put(tmp_path / "dev.csv", [f"{1 + (t in BAD)},,{t}!" for t in GOOD + BAD])
    put(tmp_path / "classes.txt", ["liked", "disliked"])
    examples = read_classes(tmp_path)
    assert set(examples.targets) == {"liked", "disliked"} and set(examples.parts) == {"train", "validation"}
    assert examples.inputs[8] == GOOD[0] + "!"


def test_several_labels(tmp_path):
    path = put(tmp_path / "topics.tsv", ["text\ttopics", *(f"{t}\tfilm; art" for t in GOOD), *(f"{t}\tfilm" for t in BAD)])
    assert read_classes(path, "topics", separator=";").targets[0] == ["film", "art"]


def test_what_is_odd_is_found_and_said(tmp_path):
    lines = [
        "text\tlabel",
        *(f"{t}\t+" for t in GOOD),
        *(f"{t}\t-" for t in BAD),
        "A fine film: it is!\t-",
        f"{BAD[0]}\t-",
        "\t+",
    ]
    examples = read_classes(put(tmp_path / "r.tsv", lines), "label", text="text")
    text = said(examples)
    assert len(examples) == 10 and "1 example has no text, such as r.tsv:12: left out" in text
    assert "1 text has a twin with another class, such as r.tsv:2 (+) and r.tsv:10 (-)" in text
    assert "occurs again with the same class, such as r.tsv:6 and r.tsv:11" in text


def test_nearly_the_same_texts_are_known_as_such():
    a, b, c, d = Texts(["Good film!", "good  FILM", "bad film", "。"]).fingerprints()
    assert a == b and len({a, c, d}) == 3
    assert isinstance(Examples("text", Texts(GOOD)).take([0, 2]).inputs, Texts)


@pytest.mark.parametrize(
    ("name", "lines", "target", "says"),
    [
        ("t.csv", ["label,text", *(f"+,{t}" for t in GOOD)], "labl", "unknown column of t.csv 'labl': did you mean 'label'"),
        ("t.csv", ["a,b", "1,2", "2,3", "3,4"], None, "no column of texts"),
        (
            "t.csv",
            ["text,b,c", *(f"{t},{i % 2},{i % 2}" for i, t in enumerate(GOOD + BAD))],
            None,
            "which column holds the classes",
        ),
        ("t.txt", GOOD, None, "lines without a class each: the first is 'a fine film"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, lines, target, says):
    with pytest.raises(ValueError, match=says):
        read_classes(put(tmp_path / name, lines), target)


def test_other_encodings_name_the_row(tmp_path):
    path = put(tmp_path / "t.tsv", [*(f"{t}\t+" for t in GOOD), "ein schöner Film\t-"], "latin-1")
    with pytest.raises(BadFile, match=r"row 5: byte 0xf6 is not UTF-8.*encoding='latin-1'"):
        read_classes(path)
    assert read_classes(path, encoding="latin-1").inputs[-1] == "ein schöner Film"
    marked = put(tmp_path / "bom.txt", ["\ufeffeine Zeile", "noch eine"])
    assert read_corpus(marked).inputs[0].startswith("eine")


@pytest.mark.parametrize("read", [read_classes, read_corpus, lambda p: read_pairs((p, p))])
def test_an_empty_or_cut_off_file(tmp_path, read):
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(BadFile, match="is empty"):
        read(tmp_path / "empty.txt")
    whole = gzip.compress("\n".join(GOOD * 2000).encode() + bytes(range(32, 127)) * 99)
    (tmp_path / "half.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="damaged or cut off"):
        read(tmp_path / "half.txt.gz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "nowhere.txt")


def test_texts_and_classes_of_different_numbers():
    with pytest.raises(ValueError, match="4 texts and 3 classes"):
        read_classes((GOOD, ["+"] * 3))
    with pytest.raises(TypeError, match="text 2 is a int"):
        read_classes((["a b c", 3], ["+", "-"]))


# -- pairs and corpora -----------------------------------------------------------------------------------------------------


def test_parallel_files(tmp_path):
    a, b = put(tmp_path / "x" / "en.txt", GOOD), put(tmp_path / "x" / "de.txt", BAD)
    examples = read_pairs((a, b))
    assert list(examples.inputs) == GOOD and list(examples.targets) == BAD and examples.names[0] == "en.txt:1"
    assert tell((a, b))[0] == "pairs" == tell(tmp_path / "x")[0]
    assert list(read_pairs(tmp_path / "x", direction="de-en").inputs) == BAD
    with pytest.raises(ValueError, match="holds de and en"):
        read_pairs(tmp_path / "x", direction="fr-en")
    put(tmp_path / "short.de", BAD[:3])
    with pytest.raises(BadFile, match=r"4 lines and .*short\.de has 3 lines"):
        read_pairs((a, tmp_path / "short.de"))


def test_a_folder_of_parts_in_two_languages(tmp_path):
    for name in ("train", "val", "test_2016"):
        put(tmp_path / "de-en" / f"{name}.en.gz", GOOD)
        put(tmp_path / "de-en" / f"{name}.de.gz", BAD)
    examples = read_pairs(tmp_path / "de-en")
    assert list(examples.inputs[:4]) == BAD and sorted(set(examples.parts)) == ["test", "train", "validation"]
    assert "from de into en" in said(examples)


def test_lines_of_pairs_stay_together(tmp_path):
    lines = ["Hi.\t嗨。\tby A", "Hi!\t你好。\tby B", "Run.\t跑！\tby A", "Stop at once.\t马上停下。\tby C"]
    path = put(tmp_path / "cmn.txt", lines)
    examples = read_pairs(path)
    assert examples.targets[1] == "你好。" and examples.groups.tolist() == [0, 0, 1, 2] and tell(path)[0] == "pairs"
    assert "each line has more than two cells" in said(examples)
    put(tmp_path / "some.txt", [*lines, "Wait.\t等等。"])
    assert "4 lines have more than two cells" in said(read_pairs(tmp_path / "some.txt"))
    with pytest.raises(ValueError, match="direction='zh-en' is for a folder"):
        read_pairs(path, direction="zh-en")
    put(tmp_path / "bad.txt", [*lines, "no tab here"])
    with pytest.raises(BadFile, match="row 5: 'no tab here' has no tab"):
        read_pairs(tmp_path / "bad.txt")


def test_a_corpus_in_blocks_that_are_the_text(tmp_path):
    text = [f"line {i} of a play, with words in it" for i in range(400)]
    path = put(tmp_path / "play.txt", text)
    examples = read_corpus(path, block=1000)
    assert "".join(examples.inputs) == "\n".join(text) + "\n" and len(examples) > 10
    assert examples.times.tolist() == list(range(len(examples))) and tell(path)[0] == "corpus"
    assert "".join(read_corpus(["x" * 5000], block=1000).inputs) == "x" * 5000 + "\n"
    put(tmp_path / "plays" / "play.txt.gz", text)
    assert "".join(read_corpus(tmp_path / "plays").inputs) == "\n".join(text) + "\n"
    (tmp_path / "none").mkdir()
    with pytest.raises(BadFile, match=r"no \.txt files"):
        read_corpus(tmp_path / "none")


def test_tables_of_numbers_are_not_for_texts(tmp_path):
    assert tell(put(tmp_path / "n.csv", ["a,b,c", "1,2,x", "3,4,y"])) is None
    people = ["Name,Age,Survived", *(f'"Braund, Mr. {n} Harris",{20 + i},{i % 2}' for i, n in enumerate("ABCDEFGH"))]
    assert tell(put(tmp_path / "people.csv", people), "Survived") is None
    assert not free_text(["2016-07-01 00:00:00"] * 5) and not free_text(["Ulm", "Bonn"]) and free_text(GOOD)


def test_real_folders_are_recognised(data_folder):
    kinds = {"mr-sentence-polarity": "classes", "ag-news": "classes", "trec-questions": "classes", "chnsenticorp": "classes"}
    kinds |= {"multi30k-en-de": "pairs", "tatoeba-en-zh": "pairs", "tiny-shakespeare": "corpus"}
    assert {name: tell(data_folder / name)[0] for name in kinds} == kinds
    assert tell(data_folder / "tabular" / "titanic.csv", "Survived") is None
    trec = read_classes(data_folder / "trec-questions")
    assert dict(zip(*map(np.ndarray.tolist, np.unique(trec.parts, return_counts=True)), strict=True)) == {
        "train": 5452,
        "test": 500,
    }


# -- arrays ----------------------------------------------------------------------------------------------------------------


def test_ngrams_are_those_of_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    texts = [*GOOD, *BAD, "It's 好看的 电影, isn't it?", "a b\tc"]
    for words, letters, vectorizer in (
        (2, (0, 0), text.CountVectorizer(ngram_range=(1, 2), token_pattern=r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]")),
        (1, (2, 4), None),
    ):
        _, rows, _, counts = next(counted(texts, words, letters, what="counting", show=False))
        if vectorizer is not None:
            expected = vectorizer.fit_transform(texts)
            assert len(counts) == expected.nnz and sorted(counts) == sorted(expected.data)
            assert np.bincount(rows, counts).tolist() == expected.sum(1).A1.tolist()
    rows, _, starts, ends = grams(["no news"], 1, (2, 3))
    assert {"no news"[a:b] for a, b in zip(starts, ends, strict=True)} >= {"no", "news", "new", "ws", "s"} and not rows.any()


@pytest.fixture(scope="module")
def bags():
    return TextPreparation.fit(Examples("text", Texts(GOOD + BAD), ["+"] * 4 + ["-"] * 4), minimum=1)


def test_bags_are_of_length_one_and_know_what_tells(bags):
    made = bags(GOOD)
    assert made["numbers"].shape == made["weights"].shape and made["numbers"].max() < bags.size
    assert np.allclose((made["weights"][:, 1:] ** 2).sum(1), 1, atol=1e-5) and (made["weights"][:, 0] == 1).all()
    number = {bags_text: n for bags_text in ("fine", "film") for n, a, b in bags.places(bags_text) if a == 0}
    scale = bags.arrays()["scale"]
    assert scale[number["fine"] - 2] > 2 * scale[number["film"] - 2]  # "film" is in both classes
    assert (bags(["unseen words"])["numbers"][:, 1:] == 0).all() and bags([""])["numbers"][0, 0] == 1


def test_places_are_in_the_raw_text(bags):
    text = "What  A\u00a0Great ﬁne Film"  # a ligature is one character of the text, and two of what is looked up
    found = {text[a:b] for _, a, b in bags.places(text)}
    assert {"Great", "ﬁne", "Film", "What  A"} <= found
    assert [text[a:b] for a, b in bags.spans(text)] == ["What", "A", "Great", "ﬁne", "Film"]


@pytest.mark.parametrize("options", [{}, {"letters": (2, 4)}, {"form": "tokens"}])
def test_a_text_preparation_is_restored(options):
    made = TextPreparation.fit(Examples("text", Texts(GOOD + BAD), ["+"] * 4 + ["-"] * 4), **options)
    again = TextPreparation.restore(json.loads(json.dumps(made.config())), made.arrays())
    a, b = made(GOOD), again(GOOD)
    assert all((a[k] == b[k]).all() for k in a) if isinstance(a, dict) else (a == b).all() and a.shape[1] % 8 == 0
    assert made.describe() == again.describe()


def test_damaged_preparations_are_refused(bags):
    with pytest.raises(ValueError, match="damaged"):
        TextPreparation.restore(bags.config(), {"kept": np.array([-1], np.int32), "scale": np.ones(1, np.float32)})
    with pytest.raises(ValueError, match="unknown form"):
        TextPreparation.restore({**bags.config(), "form": "ngram"}, bags.arrays())
    with pytest.raises(ValueError, match="growing lengths"):
        PairPreparation.restore(
            {"source": {"kind": "words", "tokens": ["a"], "lower": False}, "joint": True, "lengths": []}, {}
        )


def test_long_texts_keep_what_weighs_most(bags):
    long = " ".join(["the", *GOOD, *BAD] * 50)
    made = bags([long])
    assert made["numbers"].shape[1] == bags.settings["width"] and (made["numbers"] > 0).all()


def test_raw_texts_come_from_sentences_lists_and_files(tmp_path):
    path = put(tmp_path / "lines.txt", GOOD)
    assert list(raw_texts("a sentence")) == ["a sentence"] and list(raw_texts(path)) == GOOD == list(raw_texts(str(path)))
    assert list(raw_texts(put(tmp_path / "t.csv", ["text", *GOOD]))) == GOOD
    assert list(raw_texts(["a", "b"])) == ["a", "b"]
    with pytest.raises(TypeError, match="text 2 is a int"):
        raw_texts(["a", 2])
    with pytest.raises(FileNotFoundError):
        raw_texts(tmp_path / "none.txt")


def test_pairs_become_rows_that_end():
    examples = Examples("text", Texts(["one cat", "two cats here"] * 4), ["eine Katze", "zwei Katzen hier"] * 4)
    pairs = PairPreparation.fit(examples, tokenizer="words", joint=False)
    assert pairs(["one cat"]).tolist()[0][:3] == [*pairs.source.encode("one cat"), 3]
    assert pairs.decode(pairs.targets(["zwei Katzen"])[0]) == "zwei Katzen"
    again = PairPreparation.restore(json.loads(json.dumps(pairs.config())), {})
    assert (again.targets(["eine Katze"]) == pairs.targets(["eine Katze"])).all() and again.source is not again.target
    assert PairPreparation.fit(examples, tokenizer="words").joint
    assert not PairPreparation.fit(Examples("text", ["one cat"] * 4, ["一只猫"] * 4), tokenizer="words").joint


def test_lengths_of_batches_are_the_best_there_are():
    sizes = np.array([1, 2, 2, 3, 5, 8, 8, 9, 12])

    def places(lengths):
        return sum(min(n for n in lengths if n >= size) for size in sizes.tolist())

    for most in (1, 2, 3):
        found = batch_lengths(sizes, most)
        others = itertools.combinations(range(1, 12), most - 1)
        assert len(found) == most and places(found) == min(places((*some, 12)) for some in others)
    assert batch_lengths(np.array([7] + [8] * 9), 3) == [8]  # not worth a program of its own


def test_rare_ideographs_have_tokens_beside_the_pairs():
    signs = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))
    pairs = PairPreparation.fit(Examples("text", ["one cat"] * 60, [signs[i * 50 : i * 50 + 50] for i in range(30)] * 2))
    assert (pairs.targets([signs[-20:]]) != UNKNOWN).all()


def test_a_sentence_with_several_translations_is_in_one_part(data_folder):
    parts = part(read_pairs(data_folder / "tatoeba-en-zh", show=False))
    known = {essence(t) for t in parts.train.inputs}
    assert parts.how == "grouped" and not any(essence(t) in known for t in [*parts.test.inputs, *parts.validation.inputs])


def test_windows_of_a_corpus_lie_side_by_side():
    corpus = CorpusPreparation.fit(Examples("text", Texts(["to be or not to be"])), window=4)
    x, y = corpus.windows(["to be or ", "not to be"])
    assert "".join(map(corpus.tokenizer.decode, x)) == "to be or not to " and (x.reshape(-1)[1:] == y.reshape(-1)[:-1]).all()
    assert corpus(["be"])[0].tolist() == [0, 0, *corpus.tokenizer.encode("be")]
    with pytest.raises(ValueError, match="a window needs 5"):
        corpus.windows(["be"])
    again = CorpusPreparation.restore(json.loads(json.dumps(corpus.config())), {})
    assert (again(["not"]) == corpus(["not"])).all()
