"""Tables from files and frames, the types of their columns, and their way into arrays; what is wrong is named with its row."""

import gzip
import json
import sys

import numpy as np
import pytest

from cenote.data.examples import Examples
from cenote.data.split import part
from cenote.data.tables import Table, TablePreparation, infer, kinds, read, read_csv, read_table, target_kind
from cenote.data.tables.column import Column
from cenote.data.tables.columns import parse_dates, parse_numbers
from cenote.data.tables.read import glance
from cenote.files import BadFile

PLAIN = "name,age,city\nAnn,31,Ulm\nBob,,Bonn\nCid,18,Ulm\n"


@pytest.fixture
def write(tmp_path):
    def make(content, name="people.csv"):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return make


# -- files of rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, name",
    [
        (PLAIN, "people.csv"),
        (PLAIN, "people.csv.gz"),
        (PLAIN.replace(",", "\t"), "people.tsv"),
        (PLAIN.replace(",", ";"), "people.csv"),
        (PLAIN.replace(",", "|"), "people.txt"),
        (PLAIN.replace("\n", "\r\n"), "people.csv"),
        ("\ufeff" + PLAIN, "people.csv"),
        (PLAIN.encode("utf-16"), "people.csv"),
        (PLAIN.replace("\n", ",\n"), "people.csv"),
        (PLAIN.replace("Ann", '"Ann"'), "people.csv"),
        (PLAIN.replace(",", ", "), "people.csv"),
        (PLAIN + "\n\n", "people.csv"),
    ],
    ids=["csv", "gz", "tsv", "semicolon", "bar", "crlf", "bom", "utf16", "comma at the end", "quoted", "spaces", "empty lines"],
)
def test_the_same_table_however_it_is_written(write, content, name):
    table, _ = read_csv(write(content, name))
    rows = [{k: row[k] for k in ("name", "age", "city")} for row in table]
    assert rows == [
        {"name": "Ann", "age": 31, "city": "Ulm"},
        {"name": "Bob", "age": None, "city": "Bonn"},
        {"name": "Cid", "age": 18, "city": "Ulm"},
    ]
    assert table.place(1).endswith(":3")


def test_cells_may_hold_delimiters_line_ends_and_quotes(write):
    table, _ = read_csv(write('text,n\n"one, two",1\n"a ""b""\nc",2\nplain,3\n'))
    assert table["text"].texts().tolist() == ["one, two", 'a "b"\nc', "plain"]
    assert table.place(2) == "people.csv:5"


def test_quotes_between_tabs_are_text_unless_they_enclose(write):
    loose = '"Hello" he said\t1\nno quote\t2\n"one\t3\n' + "more\t4\n" * 5
    assert read_csv(write(loose, "a.tsv"))[0]["column_1"].texts()[2] == '"one'
    closed = 'text\tlabel\n"a b"\t1\n"c d"\t2\n'
    assert read_csv(write(closed, "b.tsv"))[0]["text"].texts().tolist() == ["a b", "c d"]


@pytest.mark.parametrize(
    "content, header",
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", False),
        ("good film\tpositive\nbad film\tnegative\nso so\tpositive\n", False),
        ("text\tlabel\ngood film\tpositive\nbad film\tnegative\n", True),
        ("a,b\n1,2\n3,4\n", True),
        ("3,Title of it,Some words\n4,Another,More words\n", False),
        ("day,value\n2020-01-01,a\n2020-01-02,b\n", True),
    ],
)
def test_a_header_is_told_from_data(write, content, header):
    table, notes = read_csv(write(content, "x.tsv" if "\t" in content else "x.csv"))
    assert (next(iter(table.columns)) != "column_1") == header
    assert len(table) == content.count("\n") - header
    assert any("no header" in n.text for n in notes) == (not header)


def test_header_and_delimiter_can_be_said(write):
    table, _ = read_csv(write("1;2\n3;4\n"), header=True, delimiter=";")
    assert list(table.columns) == ["1", "2"] and len(table) == 1


def test_columns_of_one_name_are_told_apart_and_reported(write):
    table, notes = read_csv(write("a,a,b\n1,2,x\n3,4,y\n"))
    assert list(table.columns) == ["a", "a_2", "b"]
    assert any("occurs twice" in n.text for n in notes)


@pytest.mark.parametrize(
    "content, name, message",
    [
        ("", "a.csv", r"a\.csv is empty \(0 bytes\)"),
        ("\n\n", "a.csv", "holds no rows"),
        ("a,b\n", "a.csv", r"has a header \(a, b\) and no rows below it"),
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", "a.csv", r"rows have 3 cells, but row 3 has 2; .*ragged='skip'"),
        ("a,b,c\n1,2,3\n4,5,6\n7,8", "a.csv", r"row 4 has 2; the file seems to be cut off in its last row"),
        ("a,b\n1,2\n3,4,5\n6,7\n", "a.csv", r"row 3 has 3; a delimiter inside a cell needs quotation marks"),
        ("name,n\nAnn,1\nJosé,2\n".encode("latin-1"), "a.csv", r"a\.csv, row 3: byte 0xe9 is not UTF-8 .*encoding='latin-1'"),
        ("name,n\n" + "中文文字,1\n" * 3, "g.csv", None),
        (b"\x89PNG\r\n\0\0\0\1", "a.csv", "bytes that no text has"),
        (b"PK\3\4" + bytes(50), "a.xlsx", "is no CSV, TSV or Parquet file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_its_row(write, content, name, message):
    if message is None:
        with pytest.raises(BadFile, match=r"row 2: byte 0xd6 .*encoding='gb18030'"):
            read_table(write(content.encode("gb18030"), name))
        return
    with pytest.raises(BadFile, match=message):
        read_table(write(content, name))


def test_a_half_packed_file_and_an_open_quote(write, tmp_path):
    whole = gzip.compress(("a,b\n" + "1,2\n" * 5000).encode())
    (tmp_path / "half.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="cannot be unpacked to its end"):
        read_csv(tmp_path / "half.csv.gz")
    with pytest.raises(BadFile, match=r"row 302: .*opened and never closed"):
        read_csv(write("a,b\n" + "1,2\n" * 300 + '"x,2\n' + "1,2\n" * 50_000))


def test_other_encodings_and_rows_to_skip_can_be_said(write):
    table, _ = read_csv(write("name,n\nJosé,2\n".encode("latin-1")), encoding="latin-1")
    assert table.row(0)["name"] == "José"
    table, notes = read_csv(write("a,b\n1,2\n3,4,5\n6,7\n"), ragged="skip")
    assert len(table) == 2 and any("row 3" in n.text and n.severity == "warning" for n in notes)
    with pytest.raises(ValueError, match="unknown encoding 'utf-88'"):
        read_csv(write(PLAIN), encoding="utf-88")


def test_a_file_larger_than_the_memory_is_sampled_and_said(write):
    path = write("n,word\n" + "".join(f"{i},w{i % 7}\n" for i in range(30_000)))
    table, notes = read_csv(path, memory=200_000)
    assert 4_000 < len(table) < 14_000
    assert any("30,000 rows" in n.text and "drawn at random" in n.text for n in notes)
    n = table["n"].numbers
    assert (np.diff(n) > 0).all() and abs(n.mean() - 15_000) < 800  # in order, from the whole file
    assert np.array_equal(n + 2, table.lines)  # rows keep their places
    assert np.array_equal(read_csv(path, memory=200_000)[0]["n"].numbers, n)


def test_what_is_kept_is_bounded_by_the_size_of_the_texts_too(write):
    path = write("n,word\n" + "".join(f"{i},{'long ' * 20}{i}\n" for i in range(6000)))
    table, notes = read_csv(path, memory=300_000)
    assert 200 < len(table) < 1500 and any("6,000 rows, more than fit into the 0.286 MiB" in n.text for n in notes)


def test_a_parquet_file_larger_than_the_memory_is_sampled_and_said(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "big.parquet"
    parquet.write_table(arrow.table({"n": list(range(200_000)), "word": [f"w{i % 7}" for i in range(200_000)]}), path)
    table, notes = read_table(path, memory=2_000_000)
    assert 10_000 < len(table) < 80_000 and "200,000 rows" in notes[0].text and notes[0].severity == "warning"
    assert np.array_equal(table["n"].numbers + 1, table.lines) and table.lines[-1] > 150_000
    assert set(table["word"].levels) == {f"w{i}" for i in range(7)}
    assert len(read_table(path, rows=10)[0]) == 10 and not read_table(path)[1]


def test_rows_to_predict_are_all_read_or_none(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    frame = pytest.importorskip("pandas").DataFrame({"n": np.arange(50_000.0)})
    frame.to_csv(tmp_path / "big.csv", index=False)
    parquet.write_table(pytest.importorskip("pyarrow").Table.from_pandas(frame), tmp_path / "big.parquet")
    preparation = TablePreparation.fit(Examples("table", Table.of({"n": [1.0, 2.0, 3.5, 5.0]})))
    for name in ("big.csv", "big.parquet"):
        assert len(preparation.raw(tmp_path / name)) == 50_000
        with monkeypatch.context() as patched:
            patched.setattr(sys.modules["cenote.data.tables.read"], "memory_share", lambda part: 300_000)
            with pytest.raises(BadFile, match=rf"{name} needs more than the 0.286 MiB of memory .* in a file of their own"):
                preparation.raw(tmp_path / name)


def test_underscores_and_infinities_are_no_numbers_anywhere(write):
    table, _ = read_csv(write("a,b\n" + "1,2\n" * 600 + "1_000,inf\n" + "3,4\n" * 600))
    assert table["a"].strays == {"1_000": (1, 600)} and table["b"].strays == {"inf": (1, 600)}


def test_a_quotation_mark_that_is_never_closed_near_the_end(write):
    with pytest.raises(BadFile, match=r"row 306 has 1; a quotation mark that is opened before row 306 and never closed"):
        read_csv(write("a,b\n" + "1,2\n" * 300 + '"x,2\n' + "1,2\n" * 4))


def test_wide_encodings_and_delimiters_that_are_none(write):
    table, _ = read_csv(write(PLAIN.encode("utf-16-le")), encoding="utf-16-le")
    assert table.row(2) == {"name": "Cid", "age": 18, "city": "Ulm"}
    with pytest.raises(BadFile, match="is not UTF-16 to its end"):
        read_csv(write(PLAIN.encode("utf-16")[:-1]))
    with pytest.raises(ValueError, match="delimiter='ab': give one character"):
        read_csv(write(PLAIN), delimiter="ab")


@pytest.mark.parametrize("name", ["big.csv", "big.csv.gz"])
def test_arrow_reads_large_files_as_the_careful_reader_does(write, monkeypatch, name):
    pytest.importorskip("pyarrow")
    draw = np.random.RandomState(0)
    cells = ((i, draw.randn(), " NA" if i % 9 == 0 else i % 4, draw.randint(5), i % 28 + 1) for i in range(8000))
    rows = [f"{i},{x:.4f},{n}, w{w} ,2020-01-{d:02d}\n" for i, x, n, w, d in cells]
    path = write("id,x,n,word,day\n" + "".join(rows), name)
    careful, _ = read_csv(path)
    monkeypatch.setattr("cenote.data.tables.csv.LARGE", 1)
    fast, _ = read_csv(path)
    assert np.array_equal(fast.lines, careful.lines) and np.array_equal(fast.fingerprints(), careful.fingerprints())
    assert fast.row(9) == careful.row(9) and fast.place(9) == careful.place(9) == f"{name}:11"
    some, notes = read_csv(path, memory=60_000)
    assert 500 < len(some) < 2000 and any("8,000 rows" in n.text for n in notes)
    assert np.array_equal(some["id"].numbers + 2, some.lines)


@pytest.mark.parametrize(
    "change, place",
    [("1,2\n3,oops\n", "row 6002"), ("1,2,3\n", r"row 6002 has 3"), (b"1,caf\xe9\n", r"row 6002: byte 0xe9")],
    ids=["text", "ragged", "latin"],
)
def test_arrow_leaves_what_is_unusual_to_the_careful_reader(write, monkeypatch, change, place):
    monkeypatch.setattr("cenote.data.tables.csv.LARGE", 1)
    change = change if isinstance(change, bytes) else change.encode()
    path = write(b"a,b\n" + b"1,2\n" * 6000 + change)
    if b"oops" in change:
        table, _ = read_csv(path)
        assert table["b"].strays == {"oops": (1, 6001)} and table.place(6001) == "people.csv:6003"
        return
    with pytest.raises(BadFile, match=place):
        read_csv(path)


def test_a_column_that_turns_out_to_be_text_late_is_read_again(write):
    table, _ = read_csv(
        write("code,n\n" + "".join(f"{i},{i}\n" for i in range(50_000)) + "".join(f"x{i},0\n" for i in range(20_000)))
    )
    assert table["code"].codes is not None and table["code"].texts()[[0, -1]].tolist() == ["0", "x19999"]


def test_a_glance_at_a_large_file_reads_its_beginning(write, monkeypatch):
    path = write("a,b\n" + "1,2\n" * 300 + "3,4,5\n")
    module = sys.modules[glance.__module__]  # the package has a function of that name
    monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(module, "GLANCE", 100)
    assert len(glance(path)) == 100  # the ragged row is not reached
    monkeypatch.setattr(module, "LARGE", 1 << 30)
    with pytest.raises(BadFile, match="row 302 has 3"):
        glance(path)


# -- frames ----------------------------------------------------------------------------------------------------------------


def test_frames_parquet_dicts_and_rows_give_the_same_table(tmp_path):
    pandas, polars, arrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    columns = {"n": [1.5, None, 3.0], "i": [1, 2, 3], "word": ["a", None, "b"], "yes": [True, False, True]}
    stamps = ["2020-01-01 10:00:00", "2020-01-02 00:00:00", "2020-01-03 00:00:00"]
    frame = pandas.DataFrame({**columns, "when": pandas.to_datetime(stamps)})
    frame.to_parquet(tmp_path / "x.parquet")
    same = [
        frame,
        frame.convert_dtypes(),
        frame.astype({"word": "category"}),
        polars.from_pandas(frame),
        arrow.Table.from_pandas(frame),
        tmp_path / "x.parquet",
    ]
    wanted = {"n": None, "i": 2, "word": None, "yes": "False", "when": "2020-01-02 00:00:00"}
    for source in same:
        assert read_table(source)[0].row(1) == wanted
        assert {n: k.type for n, k in kinds(read_table(source)[0]).items()}["when"] == "date"
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert read_table(rows)[0].row(1) == read_table(columns)[0].row(1) == {k: wanted[k] for k in columns}


def test_a_damaged_parquet_file(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(BadFile, match="no Parquet file, or damaged"):
        read_table(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "source, message",
    [
        ({"a": [1, 2], "b": [1]}, "'a' has 2, 'b' has 1"),
        ({"a": 1, "b": [1, 2]}, "one value for 'a'"),
        ([[1, 2], [3]], "rows of different lengths"),
        (7, "is no table"),
    ],
)
def test_what_is_no_table(source, message):
    with pytest.raises((TypeError, ValueError), match=message):
        read_table(source)


# -- types -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, name, kind",
    [
        ([1.5, 2.5, 3.5, None], "x", "number"),
        (list(range(1, 101)), "PassengerId", "identifier"),
        ([3, 1, 2] * 9, "rooms", "number"),
        ([0, 1, 1, 0], "x", "boolean"),
        (["yes", "no", "yes"], "x", "boolean"),
        (["red", "blue", "red"] * 5, "x", "category"),
        (["same"] * 9, "x", "constant"),
        ([None] * 5, "x", "constant"),
        (["same", None] * 9, "x", "category"),
        ([f"u-{i:05d}x" for i in range(50)], "x", "identifier"),
        ([f"the quick brown fox number {i}" for i in range(50)], "x", "text"),
        ([f"这个宾馆比较陈旧了特价的房间也很一般{i}" for i in range(50)], "x", "text"),
        (["2020-01-05", "2021-02-03"] * 5, "x", "date"),
        (["05.01.2020", "23.02.2021"] * 5, "x", "date"),
        (["1,200", "950", "12,000"] * 5, "x", "number"),
        (["12 kg", "7 kg", "3.5 kg"] * 5, "x", "number"),
        (["00501", "10001", "02139"] * 5, "zip", "category"),
        ([20200101, 20200102, 20200103], "date", "date"),
    ],
)
def test_types_of_columns(values, name, kind):
    assert infer(Column.of(values), name).type == kind


@pytest.mark.parametrize(
    "texts, numbers",
    [
        (["$1,200", "-$950.50"], [1200, -950.5]),
        (["45%", "3.5 %"], [45, 3.5]),
        (["1.234,5", "12,25"], [1234.5, 12.25]),
        (["1 234", "5"], [1234, 5]),
        (["€ 5", "€ 7.25"], [5, 7.25]),
        (["1e3", "-2.5E-1"], [1000, -0.25]),
    ],
)
def test_numbers_in_texts(texts, numbers):
    values, way = parse_numbers(texts)
    assert values.tolist() == numbers and way
    assert parse_numbers(texts, way)[0].tolist() == numbers  # as at prediction


def test_dates_by_their_way():
    for texts, day in (
        (["1949-01", "1949-02"], "1949-02-01"),
        (["13/02/2020", "01/03/2020"], "2020-03-01"),
        (["02/13/2020", "03/01/2020"], "2020-03-01"),
        (["1 Mar 2020", "2 Mar 2020"], "2020-03-02"),
        (["2020-03-01T05:06:07Z", "2020-03-02T00:00:00+02:00"], "2020-03-01"),
        (["2020年3月1日", "2020年3月2日"], "2020-03-02"),
    ):
        found, way = parse_dates(texts)
        assert str(found[1].astype("datetime64[D]")) == day and way, texts
    assert parse_dates(["red", "blue12"])[1] == ""


def test_kinds_of_targets():
    def kind(values):
        column = Column.of(values)
        return target_kind(column, infer(column, "y"))[0]

    assert kind(["a", "b"]) == kind([0, 1]) == kind([3, 4, 5, 6] * 9) == kind([2.0, 4.0]) == "classes"
    assert kind([1.5, 2.5]) == kind(list(range(50))) == kind(["1,200", "3,000"]) == "quantity"


def test_types_can_be_overridden():
    table = Table.of({"pclass": [1, 2, 3] * 5, "day": ["01/02/2020", "03/04/2020", "05/06/2020"] * 5})
    found = kinds(table, {"pclass": "category", "day": "date %d/%m/%Y"})
    assert found["pclass"].type == "category" and found["day"].way == "%d/%m/%Y"
    preparation = TablePreparation.fit(read(_with(table, y=[0, 1, 0] * 5), "y", types={"pclass": "category"}))
    assert {"pclass = 1", "pclass = 2", "pclass = 3"} <= set(preparation.features())
    with pytest.raises(ValueError, match="did you mean 'pclass'"):
        kinds(table, {"plass": "category"})
    with pytest.raises(ValueError, match="did you mean 'category'"):
        kinds(table, {"pclass": "categry"})


def _with(table, **more):
    return Table({**table.columns, **{n: Column.of(v) for n, v in more.items()}})


# -- examples --------------------------------------------------------------------------------------------------------------


def test_a_missing_target_column_lists_the_columns_and_the_nearest(write):
    with pytest.raises(ValueError, match=r"target column of people\.csv 'ciyt': did you mean 'city'\? Known: age, city, name"):
        read(write(PLAIN), "ciyt")
    with pytest.raises(ValueError, match=r"which column of people\.csv is to be predicted\? .*name, age, city"):
        read(write(PLAIN))


def test_text_in_a_column_of_numbers_is_named_with_row_and_value(write):
    lines = [f"{i % 40 + 0.5},{'yn'[i % 2]}" for i in range(60)]
    lines[20] = "thirty,y"
    path = write("age,fit\n" + "\n".join(lines) + "\n")
    examples = read(path, "fit")
    finding = next(f for f in examples.findings if f.where == "age")
    assert "'thirty' in people.csv:22" in finding.text and finding.severity == "warning" and "types=" in finding.text
    assert np.isnan(examples.inputs["age"].numbers).sum() == 1
    with pytest.raises(ValueError, match=r"the target column 'age' holds 'thirty' in people\.csv:22; expected a number"):
        read(path, "age")


def test_question_marks_are_missing_and_reported(data_folder):
    examples = read(data_folder / "tabular/breast-cancer-wisconsin-original.csv", -1)
    finding = next(f for f in examples.findings if f.where == "column_6")
    assert "16 cells" in finding.text and "'?'" in finding.text and ":24" in finding.text
    assert examples.about["target"]["kind"] == "classes" and set(examples.targets) == {"2", "4"}


def test_rows_without_target_are_left_out_and_reported():
    examples = read({"x": [1.0, 2.0, 3.0], "y": ["a", None, "b"]}, "y")
    assert len(examples) == 2 and examples.targets.tolist() == ["a", "b"] and list(examples.names) == ["row 1", "row 3"]
    assert any("no value of the target" in f.text and "row 2" in f.text for f in examples.findings)


def test_several_quantities_groups_and_times():
    days = ["2020-01-01", "2020-01-02", "2020-01-03"]
    source = {"x": [1.0, 2.0, 3.0], "a": [1.5, 2.5, 3.5], "b": [9.5, 8.5, 7.5], "who": ["p", "q", "p"], "day": days}
    examples = read(source, ["a", "b"], groups="who", time="day")
    assert examples.targets.shape == (3, 2) and examples.groups.tolist() == ["p", "q", "p"]
    assert "who" not in examples.inputs and examples.times.dtype.kind == "M"
    with pytest.raises(ValueError, match="must be numbers"):
        read(source, ["a", "who"], kind="classes")


def test_mixed_columns_and_numbers_in_texts_are_reported():
    code = [str(i % 11) for i in range(30)] + [f"x{i % 11}" for i in range(30)]
    source = {"price": ["$1,200", "$950", "$70"] * 20, "code": code, "y": [0, 1] * 30}
    found = {f.where: f.text for f in read(source, "y").findings}
    assert "numbers as text" in found["price"] and "mixes numbers and texts" in found["code"]


# -- preparation -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def titanic(data_folder):
    examples = read(data_folder / "tabular/titanic.csv", "Survived")
    return part(examples, test=0.2), examples


def test_titanic_columns(titanic):
    _, examples = titanic
    types = {n: k.type for n, k in examples.inputs.types.items()}
    assert types == {
        "PassengerId": "identifier", "Pclass": "number", "Name": "text", "Sex": "category", "Age": "number", "SibSp": "number",
        "Parch": "number", "Ticket": "category", "Fare": "number", "Cabin": "category", "Embarked": "category",
    }  # fmt: skip


def test_preparation_learns_from_the_training_part_alone(titanic):
    parts, _ = titanic
    preparation = TablePreparation.fit(parts.train)
    x = preparation(parts.train.inputs)
    age = parts.train.inputs["Age"].numbers
    low, median, high = np.nanquantile(age, [0.25, 0.5, 0.75])
    at = preparation.features().index("Age")
    z = (np.where(np.isnan(age), median, age) - median) / (high - low)
    np.testing.assert_allclose(x[:, at], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-5)
    np.testing.assert_array_equal(x[:, at + 1], np.isnan(age))
    assert preparation.features()[at + 1] == "Age is missing"
    assert np.abs(x).max() <= 3 and x.dtype == np.float32 and np.isfinite(x).all()
    assert "PassengerId" in preparation.dropped and not any("PassengerId" in f for f in preparation.features())
    assert "Name: 'miss'" in preparation.features()
    assert sorted(i for g in preparation.groups().values() for i in g) == list(range(x.shape[1]))


def test_preparation_comes_back_from_json(titanic):
    parts, _ = titanic
    preparation = TablePreparation.fit(parts.train)
    again = TablePreparation.restore(json.loads(json.dumps(preparation.config())), preparation.arrays())
    np.testing.assert_array_equal(again(parts.test.inputs), preparation(parts.test.inputs))
    assert again.features() == preparation.features() and again.describe() == preparation.describe()
    for change in ({"columns": []}, {"columns": [{"kind": "evil"}]}, {"columns": [{"kind": "number", "name": "x", "way": 1}]}):
        with pytest.raises(ValueError, match="makes no sense"):
            TablePreparation.restore({**preparation.config(), **change}, {})


def test_raw_rows_of_every_form(titanic, data_folder):
    parts, _ = titanic
    preparation = TablePreparation.fit(parts.train)
    row = parts.test.inputs.row(0)
    wanted = preparation(parts.test.inputs)[:1]
    values = [row[e.name] for e in preparation.encoders]
    for source in (row, [row], {k: [v] for k, v in row.items()}, values, [values]):
        np.testing.assert_array_equal(preparation(source), wanted)
    assert len(preparation(data_folder / "tabular/titanic.csv")) == 891
    with pytest.raises(ValueError, match=r"lacks the column 'Sex' of the training data; it has: Pclass"):
        preparation({k: v for k, v in row.items() if k not in ("Sex", "PassengerId")})
    with pytest.raises(ValueError, match="a row has 2 values; expected"):
        preparation([1, 2])


def test_what_is_new_at_prediction_is_counted():
    table = Table.of({"colour": ["red", "blue", "green"] * 20, "size": [float(i % 9) for i in range(60)]})
    preparation = TablePreparation.fit(Examples("table", table))
    new = {"colour": ["red", "pink", "pink", None], "size": [1.0, None, 500.0, 2.0]}
    said = " ".join(f.text for f in preparation.look(new))
    assert "'pink' in 2 of 4 rows" in said and "'size' is missing in 1 of 4 rows" in said and "500, far outside" in said
    assert "column 'colour' is missing in 1 of 4 rows" in said
    x = preparation(new)
    assert np.isfinite(x).all() and x[1, :3].tolist() == x[3, :3].tolist() == [0, 0, 0]
    assert not preparation.look({"colour": ["red"], "size": [3.0]})


def test_many_categories_are_embedded_and_rare_ones_merged():
    draw = np.random.RandomState(0)
    words = np.array([f"w{i}" for i in range(30)])[draw.randint(0, 30, 3000)].tolist() + [f"rare {i}" for i in range(50)]
    preparation = TablePreparation.fit(Examples("table", Table.of({"word": words, "n": draw.randn(3050)})))
    assert preparation.sizes() == [31]  # 30 and the rare ones
    x = preparation({"word": ["w3", "rare 7", "never seen", None], "n": [0.0] * 4})
    assert x["categories"].dtype == np.int32 and x["categories"][:, 0].tolist()[1:] == [0, 0, 0] and x["categories"][0, 0] > 0
    assert any("50 rare categories" in f.text for f in preparation.findings)


def test_a_million_categories_are_an_identifier():
    values = np.random.RandomState(0).randint(0, 1_000_000, 60_000).astype(str).tolist()
    column = Column.of([f"user-{v}" for v in values])
    kind = infer(column, "user")
    assert kind.type == "identifier"
    table = Table({"user": column, "n": Column.of(np.arange(60_000) % 7.0)})
    preparation = TablePreparation.fit(Examples("table", table))
    assert list(preparation.dropped) == ["user"] and "different values" in preparation.dropped["user"]


def test_dates_become_calendar_features():
    days = np.datetime64("2020-01-01") + np.arange(800, dtype="timedelta64[D]")
    preparation = TablePreparation.fit(Examples("table", Table.of({"day": days, "n": np.arange(800) % 7.0})))
    names = preparation.features()
    assert {"day: year", "day: month (sin)", "day: weekday (cos)"} <= set(names) and "day: hour (sin)" not in names
    x = preparation({"day": ["2021-03-01"], "n": [0.0]})[0]
    assert x[names.index("day: month (sin)")] == pytest.approx(np.sin(2 * np.pi * 2 / 12), abs=1e-6)
    assert x[names.index("day: weekday (sin)")] == pytest.approx(0.0, abs=1e-6)  # a Monday


def test_nothing_left_to_learn_from():
    with pytest.raises(ValueError, match="no column is left to learn from: 'id' it numbers the rows"):
        TablePreparation.fit(read({"id": list(range(20)), "y": [0, 1] * 10}, "y"))
