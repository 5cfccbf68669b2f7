"""Tables: names kept, nothing filled in unasked, every refusal with its place."""

import datetime
import os
import random
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from scorefield import data
from scorefield.runs.tables import write

ROWS = torch.arange(3)


@pytest.fixture
def written(tmp_path):
    def write(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def table(path, **policy) -> data.Arrays:
    source = data.load(path, **policy)
    assert isinstance(source, data.Arrays)
    return source


def refusal(path, **policy):
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        table(path, **policy)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "a,b,label\n1,2.5,cat\n-3,4e2,dog\n5,6,cat\n",
        "\ufeffa,b,label\r\n1,2.5,cat\r\n-3,4e2,dog\r\n\r\n5,6,cat",  # a byte-order mark, Windows ends, a blank line
        '"a", "b" ,label\n 1 ,"2.5",cat\n-3,400.0,dog\n5,6,"cat"\n',
    ],
)
def test_csv_with_a_header_and_named_classes(written, text):
    source = table(written(text.replace(', "b" ', ',"b" ')))
    assert source.columns == ("a", "b")
    assert source.class_names == ("cat", "dog")
    batch = source.batch(ROWS)
    assert batch.x.tolist() == [[1, 2.5], [-3, 400], [5, 6]]
    assert batch.cond["label"].tolist() == [0, 1, 0]


def test_csv_without_a_header_and_with_tabs(written):
    plain = table(written("1,2\n3,4\n5,6\n"))
    assert plain.columns == ("column 1", "column 2")
    assert plain.batch(ROWS).x.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert table(written("x\ty\n1\t2\n", "a.tsv")).columns == ("x", "y")
    assert table(written("1;2\n3;4\n"), delimiter=";").event_shape == (2,)
    assert len(table(written("2019,2020\n1,2\n"), header=True)) == 1  # names that look like numbers


def test_columns_are_chosen_and_whole_labels_kept(written):
    path = written("id,a,kind,b\n7,1,2,3\n8,4,0,6\n9,1,1,1\n")
    source = table(path, label="kind", columns=["b", "a"])
    assert source.columns == ("b", "a")
    batch = source.batch(ROWS)
    assert batch.x.tolist() == [[3, 1], [6, 4], [1, 1]]
    assert batch.cond["label"].tolist() == [2, 0, 1]
    assert source.class_names == ()


@pytest.mark.parametrize(
    ("text", "policy", "message"),
    [
        ("a,b\n1,2\n3,\n", {}, ", line 3, column 'b': missing value ('')"),
        ("a,b\n1,2\nNA,4\n", {}, ", line 3, column 'a': missing value ('NA')"),
        ("a,b\n1,nan\n", {}, ", line 2, column 'b': missing value ('nan')"),
        ("a,label\n1,x\n2,?\n", {}, ", line 3, column 'label': missing value ('?')"),
        ("1,2\n3,\n", {}, ", line 2, column 'column 2': missing value ('')"),
        ('a,b\n"1",2\n"3\n",x\n', {}, ", line 4, column 'b': expected a finite number; got 'x'"),
        ("a,b\n1,inf\n", {}, ", line 2, column 'b': expected a finite number; got 'inf'"),
        ("a,b\n1,1e39\n", {}, ", column 'b': 1e+39 is too large for float32"),
        ("a,b\n1,2\n3\n", {}, ", line 3: expected 2 cells; got 1"),
        ("a,a\n1,2\n", {}, ": columns must have different names; 'a' is there twice"),
        ("a,b\n1,2\n", {"label": "c"}, ": no column 'c'; there are a, b"),
        ("a,b\n1,2\n", {"columns": ["z"]}, ": no column 'z'; there are a, b"),
        ("label\n1\n", {}, ": expected columns of numbers besides 'label'; got none"),
        ("a,b\n", {}, ": expected rows of numbers; got none"),
        ("", {}, ": expected rows of numbers; got none"),
        (b"\xff\xfe\x00", {}, ": not a text table ('utf-8' codec"),
    ],
)
def test_csv_refusals_say_where(written, text, policy, message):
    assert refusal(written(text), **policy).startswith(message)


@pytest.fixture
def parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="parquet is an extra")
    import pyarrow.parquet as pq

    def write(columns):
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    return write


def test_parquet_is_read_as_csv_is(parquet, written):
    columns = {"a": [1, -3, 5], "b": np.array([2.5, 400, 6], np.float32), "c": [True, False, True]}
    source = table(parquet({**columns, "label": ["cat", "dog", "cat"]}))
    text = table(written("a,b,c,label\n1,2.5,1,cat\n-3,400,0,dog\n5,6,1,cat\n"))
    assert source.columns == text.columns == ("a", "b", "c")
    assert source.class_names == text.class_names
    ours, theirs = source.batch(ROWS), text.batch(ROWS)
    assert torch.equal(ours.x, theirs.x)
    assert torch.equal(ours.cond["label"], theirs.cond["label"])
    assert table(parquet({"a": [1.0], "b": [2.0]}), columns=["b"]).columns == ("b",)


def test_parquet_refusals_say_where(parquet, tmp_path):
    assert refusal(parquet({"a": [1.0, None]})).startswith(", row 2, column 'a': missing value; say what becomes of it")
    assert refusal(parquet({"a": [1.0, 2.0, float("nan")]})).startswith(", row 3, column 'a': missing value")
    assert refusal(parquet({"a": [1.0, float("inf")]})) == ", row 2, column 'a': expected a finite number; got inf"
    assert refusal(parquet({"a": [[1], [2]], "b": [1, 2]})).startswith(", column 'a': expected numbers or text; got ")
    day = datetime.date(2023, 11, 5)
    assert refusal(parquet({"a": [day], "b": [1]})).startswith(
        ", column 'a': expected numbers or categories; got dates ('2023-11-05')"
    )
    assert refusal(parquet({"a": [b"x"], "b": [1]})).startswith(", column 'a': expected numbers or text; got bytes")
    assert refusal(parquet({"a": [1]}), label="b") == ": no column 'b'; there are a"
    assert refusal(parquet({"a": np.zeros(0)})) == ": expected rows of numbers; got none"
    whole = parquet({"a": [1.0]}).read_bytes()
    for content in (b"", b"PAR1", whole[:-5], b"text,table\n1,2\n"):
        (tmp_path / "a.parquet").write_bytes(content)
        assert ": damaged, or not a parquet file" in refusal(tmp_path / "a.parquet")


def test_without_pyarrow_one_line_says_what_to_install(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    code = "import sys; sys.modules['pyarrow'] = None; from scorefield import data; data.load('a.parquet')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        'ValueError: a.parquet: parquet files need pyarrow: pip install "scorefield[parquet]"'
    )


def test_missing_cells_become_what_is_asked(written):
    rows = [f"{i % 7}.5,{'ab'[i % 2]},x" for i in range(30)]
    rows[3], rows[4], rows[5] = ",a,x", "1.5,NA,y", "2.5,b,"
    path = written("size,kind,label\n" + "\n".join(rows) + "\n")
    assert ", line 5, column 'size': missing value ('')" in refusal(path)
    dropped = table(path, missing="drop")
    assert (len(dropped), dropped.columns) == (27, ("size", "kind_a", "kind_b"))
    assert "3 rows with missing values left out" in dropped.said[0]
    imputed = table(path, missing="impute")  # a row without its label is none to learn from
    assert len(imputed) == 29
    middle = float(np.median([float(row.split(",")[0]) for i, row in enumerate(rows) if i not in (3, 5)]))
    assert imputed.batch(torch.tensor([3])).x[0, 0] == middle
    assert imputed.batch(torch.tensor([4])).x[0, 1:].tolist() == [1, 0]  # the most frequent
    assert f"size (1, {middle}), kind (1, a)" in imputed.said[0]
    learned = table(path, missing="learn")
    assert learned.columns == ("size", "missingindicator_size", "kind_a", "kind_b", "kind_missing")
    assert learned.batch(torch.tensor([3])).x[0, 1:].tolist() == [1, 1, 0, 0]
    assert learned.batch(torch.tensor([4])).x[0].tolist() == [1.5, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="missing must be refuse, drop, impute, learn; got 'fill'"):
        table(path, missing="fill")


MANY = "\n".join(f"{i}.5,name {i}" for i in range(30))


@pytest.mark.parametrize(
    ("text", "policy", "message"),
    [
        ("day,a\n2023-11-05,1\n2023-11-06,2\n", {}, ", column 'day': expected numbers or categories; got dates ('2023"),
        ("day,a\n5.11.2023,1\n6.11.2023,2\n", {}, ", column 'day': expected numbers or categories; got dates ('5.11"),
        ("a,b\n1,1_000\n2,3\n3,4\n", {}, ", line 2, column 'b': expected a finite number; got '1_000'; or is"),
        (f"a,who\n{MANY}\n", {}, ", column 'who': 30 different values in 30 rows ('name 0', 'name 1', ...) are no"),
        ("a;b\n1;2\n", {}, ": one column, 'a;b': is a semicolon between the cells? Then say delimiter = ';'"),
        ("1.5,2\n3,4\n", {"label": "a"}, ": no column 'a'; there are column 1, column 2"),
        ("3.x,1,2\n5,3,4\n", {}, ": the first row, '3.x', '1', '2', holds texts and numbers: are these names, or data"),
        ("a,kind\n1,a\n2,b\n", {"label": "kinds"}, ": no column 'kinds'; there are a, kind. Did you mean 'kind'?"),
        ("a,b\n1,\n2,\n", {"missing": "learn"}, ", column 'b': has no values; leave it out: drop = ['b']"),
        ("a,b\n1,\n,2\n", {"missing": "drop"}, ": every row has missing values"),
    ],
)  # fmt: skip
def test_what_no_model_takes_is_refused_with_the_way_out(written, text, policy, message):
    assert refusal(written(text), **policy).startswith(message)


def test_no_row_is_lost_in_silence(written):
    """A first row of data is one, where it is plain that it is."""
    source = table(written("Adelie,1.5\nGentoo,2\nAdelie,3\n"))
    assert (len(source), source.columns) == (3, ("column 1_Adelie", "column 1_Gentoo", "column 2"))
    assert "no names: what the first row says comes again below" in source.said[0]
    assert len(table(written("a,2019\n1,2\n"), header=True)) == 1
    source = table(written(",a\n0,1.5\n1,2\n2,4\n"))  # as pandas writes them
    assert source.columns == ("a",)
    assert "the first column has no name and counts the rows: left out" in source.said[0]


def labels(source):
    return source.batch(torch.arange(len(source))).cond["label"].tolist()


def test_labels_are_read_as_they_are_meant(written):
    source = table(written("a,label\n1,0.0\n2,1.0\n3,0.0\n"))  # as pandas writes integers
    assert (labels(source), source.class_names, source.num_classes) == ([0, 1, 0], (), 2)
    source = table(written("a,label\n1,20231105\n2,20231106\n3,20231105\n"))
    assert (labels(source), source.class_names) == ([0, 1, 0], ("20231105", "20231106"))
    source = table(written("a,label\n1,-1\n2,1\n3,-1\n"))
    assert (labels(source), source.class_names) == ([0, 1, 0], ("-1", "1"))
    source = table(written("a,label\n1,1_000\n2,5\n"))
    assert source.class_names == ("1_000", "5")
    ids = "\n".join(f"{i},{i}" for i in range(40))
    assert "40 different values in 40 rows are no classes" in refusal(written(f"a,b\n{ids}\n"), label="b")
    source = table(written(f"a,label\n{ids.replace(',', '.5,')}\n"))  # not classes: a column like another
    assert source.columns == ("a", "label")


def test_a_label_is_found_by_its_name_and_said(written):
    text = "Species,a\n" + "\n".join(f"{'xy'[i % 2]},{i}" for i in range(30)) + "\n"
    source = table(written(text))
    assert (source.class_names, source.columns) == (("x", "y"), ("a",))
    assert "label found in 'Species'" in source.said[0]
    assert "label 'Species' (2 classes)" in source.said[0]
    assert table(written(text), label="").columns == ("Species_x", "Species_y", "a")
    assert table(written(text), label="species").class_names == ("x", "y")
    points = "x,y\n" + "\n".join(f"{i},{i % 3}" for i in range(60)) + "\n"
    assert table(written(points)).num_classes is None  # y beside x is a coordinate


def test_columns_are_left_out_and_codes_are_categories(written):
    path = written("id,code,a\n" + "\n".join(f"{i},{700 + 100 * (i % 3)},{i}.5" for i in range(40)) + "\n")
    source = table(path, drop=["id"], categories=["code"])
    assert source.columns == ("code_700", "code_800", "code_900", "a")
    assert table(path, drop=["ID"]).columns == source.columns  # few whole numbers are categories anyway


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert refusal(tmp_path / "a.csv") == ": expected a file; got a pipe or a device"


def test_types_of_parquet_come_back(parquet, tmp_path):
    pa = pytest.importorskip("pyarrow")
    columns = {
        "byte": pa.array([1, 2, None] * 10, pa.int8()),
        "real": pa.array(np.arange(30) / 7, pa.float32()),
        "flag": pa.array([True, None, False] * 10),
        "word": pa.array(["a", "b", None] * 10).dictionary_encode(),
        "label": pa.array([0, 2, 2] * 10, pa.int16()),
    }
    path = parquet(columns)
    source = table(path, missing="learn")
    assert source.table is not None
    batch = source.batch(torch.arange(30))
    write(tmp_path / "b.parquet", source.table.decode(batch.x, batch.cond["label"]))
    again = pq_read(tmp_path / "b.parquet")
    assert again.column_names == list(columns)
    for name, column in columns.items():
        kind = str(again.schema.field(name).type).replace("large_", "")
        assert kind.replace("indices=int8", "indices=int32") == str(column.type)
        np.testing.assert_array_equal(again[name].to_pylist(), column.to_pylist())


def pq_read(path):
    import pyarrow.parquet as pq

    return pq.read_table(path)


def test_a_wide_table_takes_time_in_proportion_to_its_columns(written):
    def seconds(columns):
        head, row = (",".join(cell for _ in range(columns)) for cell in ("c", "1.25"))
        head = ",".join(f"c{i}" for i in range(columns))
        path = written(head + "\n" + "\n".join([row] * 5) + "\n")
        start = time.perf_counter()
        assert table(path).event_shape == (columns,)
        return time.perf_counter() - start

    seconds(10)
    assert seconds(2000) < 60 * max(seconds(100), 0.01)


CELLS = (
    "", "NA", "?", "1", "2", "3.5", "-4e2", "1e400", "-inf", "True", "TRUE", "a", "ü", '"a,b"', '"l\n2"', "2023-01-02",
    "1_000", "0x1f", " 7 ", "99999999999999999999", "1e-320", "label", "0.0", "\x00", "\ufeff", "=1+1", "1,5", "🐧",
    "-", "e", "null", "x" * 300, "12:30", "\r", "1" * 400,
)  # fmt: skip
NAMES = ("a", "b", "label", "species", "y", "x", "", "Unnamed: 0", "A", "target", "1", "2019", "é")


def test_whatever_is_in_a_file_it_is_a_table_that_comes_back_or_one_line(tmp_path):
    chance, read, lines = random.Random(0), 0, []
    for _ in range(400):
        width, height = chance.randint(1, 4), chance.choice([0, 1, 3, 25])
        pools = [chance.sample(CELLS, chance.randint(1, 4)) for _ in range(width)]
        rows = [[chance.choice(pool) for pool in pools] for _ in range(height)]
        rows.insert(0, [chance.choice(NAMES) for _ in range(width)])
        content = bytearray("\n".join(map(",".join, rows[chance.randint(0, 1) :])).encode())
        if content and chance.random() < 0.1:
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "a.csv").write_bytes(content)
        policy = {"missing": chance.choice(["drop", "impute", "learn"])}
        if chance.random() < 0.2:
            policy["label"] = chance.choice(NAMES)
        try:
            source = table(tmp_path / "a.csv", **policy)
        except ValueError as error:
            lines.append(str(error))
            continue
        read += 1
        batch = source.batch(torch.arange(len(source)))
        assert source.table is not None
        again = data.from_frame(source.table.decode(batch.x, batch.cond.get("label")), schema=source.table)
        assert torch.allclose(again.x, batch.x, rtol=1e-5, atol=1e-6), content
        assert again.batch(torch.arange(len(again))).cond.keys() == batch.cond.keys()
    assert read > 20
    assert [line for line in lines if not line.startswith(str(tmp_path / "a.csv")) or "\n" in line] == []


def test_numbers_beyond_64_bits_are_numbers(written):
    source = table(written("a,b\n99999999999999999999,1\n1,2\n"))
    assert source.columns == ("a", "b")
    assert source.batch(torch.tensor([0])).x[0, 0] == torch.tensor(1e20)
