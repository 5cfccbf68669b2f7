"""Tables: names kept, nothing filled in, every refusal with its place."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from scorefield import data

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
    assert refusal(parquet({"a": [1.0, None]})) == ", row 2, column 'a': missing value"
    assert refusal(parquet({"a": [1.0, 2.0, float("nan")]})) == ", row 3, column 'a': expected a finite number; got nan"
    assert refusal(parquet({"a": ["x"], "b": [1]})) == ", column 'a': expected numbers; got string"
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
