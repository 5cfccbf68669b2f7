"""A named set in miniature, and a mirror of it on this machine."""

import contextlib
import gzip
import hashlib
import http.server
import struct
import threading
from typing import NamedTuple

import numpy as np
import pytest

from scorefield.data import published


def idx(array):
    """The bytes of an idx file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class Tiny(NamedTuple):
    arrays: dict  # name -> array
    files: dict  # name.gz -> bytes


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """What `named("mnist")` looks for: noise instead of digits, and nothing of it on this machine yet."""
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, n in (("train", 60), ("t10k", 20)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
    sums = {name: hashlib.sha256(idx(a)).hexdigest() for name, a in arrays.items()}
    monkeypatch.setitem(published.SETS, "mnist", published.SETS["mnist"]._replace(sums=sums))
    monkeypatch.delenv("SCOREFIELD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Tiny(arrays, {f"{name}.gz": gzip.compress(idx(a), mtime=0) for name, a in arrays.items()})


class Mirror:
    """An HTTP server on the loopback interface, which does as it is told."""

    def __init__(self, files):
        self.files, self.ranges, self.break_after = files, True, None
        self.stalls, self.trickles, self.closing = False, False, threading.Event()
        self.asked = []  # (name, Range header)
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request):
        name, wanted = request.path.rsplit("/", 1)[-1], request.headers.get("Range")
        self.asked.append((name, wanted))
        if self.trickles:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            with contextlib.suppress(OSError):
                while not self.closing.wait(0.05):
                    request.wfile.write(b"x")
            return None
        if name not in self.files:
            return request.send_error(404)
        content, start = self.files[name], 0
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return request.send_error(416)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start:] if self.break_after is None else content[start : start + self.break_after])
        if self.stalls:
            self.closing.wait()
        return None

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirrors():
    """`mirrors(files)` starts one more."""
    started = []

    def start(files):
        started.append(Mirror(dict(files)))
        return started[-1]

    yield start
    for mirror in started:
        mirror.close()
