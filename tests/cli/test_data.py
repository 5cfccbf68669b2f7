"""`scorefield data`: what a data set holds, and fetching one from a mirror on this machine."""

import gzip
import hashlib
import http.server
import struct
import threading
from functools import partial

import numpy as np
import pytest
from PIL import Image

from scorefield.data import published


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """The address of a folder served on the loopback interface, with noise for MNIST's digits."""
    arrays = {}
    for prefix, n in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-images-idx3-ubyte"] = images
        arrays[f"{prefix}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
    sums = {name: hashlib.sha256(idx(a)).hexdigest() for name, a in arrays.items()}
    monkeypatch.setitem(published.SETS, "mnist", published.SETS["mnist"]._replace(sums=sums))
    monkeypatch.delenv("SCOREFIELD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.mkdir()
    for name, a in arrays.items():
        (served / f"{name}.gz").write_bytes(gzip.compress(idx(a)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def rows(stdout):
    """The table as a mapping from its first column."""
    cells = ([cell.strip() for cell in line.split("│")] for line in stdout.splitlines() if "│" in line)
    return {name: value for name, value, *_ in cells}


def test_fetch_then_show(cli, mirror, tmp_path):
    done = cli("data", "fetch", "mnist", "--mirror", mirror, "--data-dir", "sets")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "mnist: 4 files, verified, in sets/mnist\n"
    done = cli("data", "show", "mnist", "--data-dir", "sets", "--split", "test", "--out", "grid.png", "--n", 9)
    assert (done.returncode, done.stderr) == (0, "")
    shown = rows(done.stdout)
    assert shown["count"] == "20"
    assert shown["shape"] == "1 x 28 x 28"
    assert shown["levels"] == "256"
    assert shown["10 classes"].startswith("0 2, 1 2, 2 2")
    with Image.open(tmp_path / "grid.png") as grid:
        assert min(grid.size) > 100


def test_fetch_says_why_a_mirror_failed(refused, mirror, tmp_path):
    line = refused("data", "fetch", "mnist", "--mirror", f"{mirror}/elsewhere", "--data-dir", "sets")
    assert line.startswith(f"error: no mirror gave train-images-idx3-ubyte.gz of mnist: {mirror}/elsewhere/train-im")
    assert line.endswith("HTTP 404 File not found\n")


def test_fetch_refuses_what_it_cannot_do(refused, mirror, tmp_path):
    assert refused("data", "fetch", "fasion") == "error: unknown data set 'fasion'. Did you mean 'fashion'?\n"
    (tmp_path / "file").write_text("a file")
    assert refused("data", "fetch", "mnist", "--mirror", mirror, "--data-dir", "file") == (
        "error: file/mnist: Not a directory\n"
    )


def test_show_when_absent_says_what_to_do(refused, mirror, tmp_path):
    line = refused("data", "show", "mnist")
    assert line.startswith("error: mnist is not here: put train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz in")
    assert line.endswith("or run 'scorefield data fetch mnist'\n")


def test_show_measures_what_a_model_sees(cli, tmp_path):
    half = np.repeat(np.array([0, 255], np.uint8), 32).reshape(4, 1, 4, 4)
    np.save(tmp_path / "a.npy", half)
    shown = rows(cli("data", "show", "a.npy").stdout)
    assert shown["raw mean, std"] == "127.5, 127.5"
    # 0 and 255 in equal shares, dequantised: mean 128, variance 127.5^2 + 1/12; then 2 y / 256 - 1
    assert shown["model mean, std"] == f"0.0000, {(127.5**2 + 1 / 12) ** 0.5 / 128:.4f}, in [-1, 1)"


def test_show_a_table_by_its_columns(cli, tmp_path):
    (tmp_path / "a.csv").write_text("size,weight,kind\n1,10,a\n3,30,b\n")
    done = cli("data", "show", "a.csv", "--label", "kind")
    shown = rows(done.stdout)
    assert shown["2 classes"] == "a 1, b 1"
    line = next(line for line in done.stdout.splitlines() if line.startswith("weight"))
    assert [cell.strip() for cell in line.split("│")] == ["weight", "20", "10", "10", "30"]


def test_show_a_folder_of_pictures(cli, tmp_path):
    for i, name in enumerate(["cat/1.png", "cat/2.png", "dog/3.png"]):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + i, 9), (10 * i, 0, 0)).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "cat" / "bad.png").write_bytes(b"")
    done = cli("data", "show", "pictures", "--size", 6, "--fit", "pad", "--on-error", "skip", "--out", "out.png")
    assert done.stderr == "warning: skipped 1 of 4 pictures: pictures/cat/bad.png: the file is empty\n"
    shown = rows(done.stdout)
    assert (shown["count"], shown["shape"], shown["2 classes"]) == ("3", "3 x 6 x 6", "cat 2, dog 1")
    assert (tmp_path / "out.png").exists()


def test_show_refuses_what_it_cannot_do(refused, tmp_path):
    assert refused("data", "show", "digit") == (
        "error: unknown file, folder or data set 'digit'. Did you mean 'digits'?\n"
    )
    assert refused("data", "show", "digits", "--size", 8) == (
        "error: --size is for files and folders; digits is a named set\n"
    )
    assert "--out draws images" in refused("data", "show", "wine", "--out", "a.png")
    assert refused("data", "show", "digits", "--out", "a.jpg") == "error: --out must end in .png; got a.jpg\n"
    (tmp_path / "a.png").write_bytes(b"mine")
    assert "exists" in refused("data", "show", "digits", "--out", "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    assert "no policy 'size' for such data" in refused("data", "show", "a.npy", "--size", 8)
