"""Data from others: nothing is waited for without end, and nothing grows past what its size allows."""

import contextlib
import gzip
import io
import os
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from growth import grows_less_than
from scorefield import data
from scorefield.data import download, opening

SPARE = 3 * opening.ALWAYS  # what is unpacked, and a copy or two


def refused(path, match, **policy):
    began = time.process_time()
    with grows_less_than(SPARE), pytest.raises(ValueError, match=match) as told:
        data.load(path, **policy)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)
    assert time.process_time() - began < 5
    return str(told.value)


def zeros(size):
    """So many zeros as gzip, a thousandth of it."""
    return gzip.compress(bytes(1 << 20), 9, mtime=0) * (size >> 20)  # members follow each other


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a-idx1-ubyte.gz"
    path.write_bytes(zeros(900 << 20))
    refused(path, "that unpack to .* or more, over 100 times as many: unpack it yourself")


def npy(shape, dtype="<f4"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


def test_an_npz_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(npy((160 << 20, 1)))
        for _ in range(640):
            member.write(bytes(1 << 20))
    refused(path, "that unpack to 671,088,768 or more")
    refused(path, "that unpack to 671,088,768 or more", lengths="pad")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_header_is_not_believed(tmp_path, name):
    content = npy((1 << 40, 8)) + bytes(64)
    path = tmp_path / name
    if name == "a.npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    else:
        path.write_bytes(content)
    refused(path, r"an array of float32 and shape \(1099511627776, 8\) has more than the \d+ bytes here")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "a.tsv", "a.parquet", "a-idx1-ubyte", "a.png"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "expected a file; got a pipe or a device")
    (tmp_path / f"to-{name}").symlink_to("/dev/zero")
    refused(tmp_path / f"to-{name}", "expected a file; got a pipe or a device")


def test_a_pipe_in_a_folder_is_named(tmp_path):
    for kind in ("pictures", "series"):
        (tmp_path / kind).mkdir()
    os.mkfifo(tmp_path / "pictures" / "a.png")
    os.mkfifo(tmp_path / "series" / "a.npy")
    for kind in ("pictures", "series"):
        with pytest.raises(ValueError, match=r"a\.(png|npy)"):
            data.load(tmp_path / kind)


def test_a_parquet_bomb_is_not_unpacked(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.zeros(30_000_000, np.int8)}), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    refused(path, "that unpack to 240,000,000 or more")


def test_an_idx_file_of_too_many_dimensions_is_named(tmp_path):
    path = tmp_path / "a-idx1-ubyte"
    path.write_bytes(bytes([0, 0, 8, 70]) + (1).to_bytes(4, "big") * 70 + b"x")
    refused(path, "at most 32 dimensions here; got 70")


def test_a_mirror_without_an_end_fills_no_disk(tiny, mirrors, tmp_path, monkeypatch):
    size = max(map(len, tiny.files.values()))
    monkeypatch.setattr(download, "SIZES", dict.fromkeys(download.SIZES, size))
    endless = mirrors({name: content + bytes(50 * size) for name, content in tiny.files.items()})
    with pytest.raises(ValueError, match=r"it sent more than [\d,]+ bytes, which the file does not have"):
        data.fetch("mnist", data_dir=tmp_path, mirrors=[endless.address])
    assert sum(p.stat().st_size for p in (tmp_path / "mnist").iterdir()) == 0
    data.fetch("mnist", data_dir=tmp_path, mirrors=[endless.address, mirrors(tiny.files).address])


def test_a_mirror_that_trickles_is_left_for_the_next(tiny, mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    slow = mirrors(tiny.files)
    answer = slow.answer

    def trickle(request):
        plain = request.wfile.write

        def write(content):
            for i in range(len(content)):
                time.sleep(0.02)
                plain(content[i : i + 1])
                request.wfile.flush()

        if request.path.endswith(".gz"):
            request.end_headers = lambda ends=request.end_headers: (ends(), setattr(request.wfile, "write", write))
        with contextlib.suppress(OSError):  # the reader has gone
            answer(request)

    slow.answer = trickle
    began = time.monotonic()
    data.fetch("mnist", data_dir=tmp_path, mirrors=[slow.address, mirrors(tiny.files).address])
    assert time.monotonic() - began < 10


LABELS = {
    "dates as numbers": (20231105 + np.arange(40) % 3, 3, ("20231105", "20231106", "20231107")),
    "some digits of ten": (np.array([3, 8] * 20), 9, ()),
    "as pandas writes whole numbers": (np.array([0.0, 1.0] * 20), 2, ()),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_as_many_as_there_are(tmp_path, name):
    values, number, names = LABELS[name]
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(40, 3)), label=values)
    source = data.load(tmp_path / "a.npz", label="label")
    assert source.num_classes == number
    assert source.class_names == names


def test_labels_that_are_none_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((40, 3)), label=np.arange(40))
    refused(tmp_path / "a.npz", "40 different labels of 40 rows are no classes", label="label")


def test_a_series_of_numbers_with_a_typo_at_the_top_loses_no_row(tmp_path):
    (tmp_path / "a.csv").write_text("0.1,O.2\n0.3,0.4\n0.5,0.6\n")
    with pytest.raises(ValueError, match="row 1: names, or numbers with a typo"):
        data.load(tmp_path)
    (tmp_path / "a.csv").write_text("0.1,0.2\n1_000,0.4\n0.5,0.6\n")
    with pytest.raises(ValueError, match=r"row 2: expected 2 numbers; got '1_000,0\.4'"):
        data.load(tmp_path)


def test_a_folder_that_is_no_text_is_no_class(tmp_path):
    for name in (b"a", b"\xff\xfe"):
        folder = os.path.join(os.fsencode(tmp_path), name)
        try:
            os.mkdir(folder)
        except OSError:
            pytest.skip("names are text here")
        Image.new("L", (4, 4)).save(os.fsdecode(os.path.join(folder, b"a.png")))
    with pytest.raises(ValueError, match=r"'\\udcff\\udcfe' is no name for a class"):
        data.load(tmp_path)
