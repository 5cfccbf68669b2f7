"""Fetching a named set from its mirrors.

Each file is written to NAME.part, and renamed only when the SHA-256 of what it decompresses to is the published one:
a file of its own name is always whole. What an interrupted transfer left in NAME.part is resumed where the server
allows, from any mirror; should the pieces not fit, the sum shows it and the file is fetched anew.

Why not pooch, which is what one would reach for: it starts a broken transfer over (what it downloads to has another
name each time, so a downloader of one's own cannot go on either), knows one address for a file, and checks the sum of
what came over the line, where mirrors compress these files differently. What would be left to it is one GET; on a slow
line resumption is the difference between having the data and not.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from scorefield import __version__
from scorefield.data.opening import unzipped
from scorefield.data.published import SIZES, home, is_published, published

Progress = Callable[[str, int, int | None], None]  # file, bytes so far, bytes in all if known

TIMEOUT = 30.0  # seconds without a byte
SLOWEST = 1000.0  # bytes a second over so many seconds, below which the next mirror is asked
_CHUNK = 1 << 16


class MirrorError(Exception):
    """A mirror did not give the file: the reason, in a few words."""


def fetch(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    mirrors: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Path]:
    """Downloads a named set to `home(name, data_dir)` and returns its files. Those already there are left.

    Args:
        name: "mnist" or "fashion".
        mirrors: http or https addresses of folders that hold the .gz files, tried in order; the public ones without.
        progress: called as `progress(file, done, total)` as bytes arrive.

    Raises:
        ValueError: for an unknown name or address; when no mirror gives a file, with each one's reason.
        OSError: if the folder cannot be written to, before anything is asked of a mirror, or the disk is full.
    """
    known, folder = published(name), home(name, data_dir)
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise ValueError(f"a mirror must be an http or https address; got {mirror!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (probe := folder / ".write-probe").write_bytes(b"")
    probe.unlink()
    return [_fetch_file(name, file, folder, mirrors or known.mirrors, progress) for file in known.sums]


def _fetch_file(name: str, file: str, folder: Path, mirrors: Sequence[str], progress: Progress | None) -> Path:
    path, part = folder / f"{file}.gz", folder / f"{file}.gz.part"
    if path.is_file() and _verified(name, file, path):
        return path
    reasons = []
    for mirror in mirrors:
        address = f"{mirror.rstrip('/')}/{path.name}"
        try:
            limit = SIZES[file] + SIZES[file] // 100 + 4096  # what cannot be compressed becomes a little larger
            resumed = _download(address, part, limit, progress)
            if not _verified(name, file, part):
                part.unlink()
                if resumed:  # of another mirror's compression, perhaps: once more from the start
                    _download(address, part, limit, progress)
                if not resumed or not _verified(name, file, part):
                    part.unlink(missing_ok=True)
                    raise MirrorError("the SHA-256 is not the published one")
        except MirrorError as error:
            reasons.append(f"{address}: {error}")
            continue
        os.replace(part, path)
        return path
    raise ValueError(f"no mirror gave {path.name} of {name}: {'; '.join(reasons)}")


def _verified(name: str, file: str, path: Path) -> bool:
    try:
        return is_published(name, file, unzipped(path))
    except ValueError:
        return False


def _download(address: str, part: Path, limit: int, progress: Progress | None) -> bool:
    """Adds to `part` what it lacks of the file at `address`; whether something was there and was kept.

    Raises:
        MirrorError: when the mirror fails, or is too slow; what has arrived stays in `part`, unless it is more than
            `limit` bytes, as of a mirror without an end. Errors of writing are left as they are.
    """
    start = part.stat().st_size if part.exists() else 0
    try:
        response = _open(address, start)
    except MirrorError as error:
        if not start or "416" not in str(error):
            raise
        start = 0  # the part is no shorter than the file
        response = _open(address, start)
    with response:
        resumed = start > 0 and response.status == http.client.PARTIAL_CONTENT
        done = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        with open(part, "ab" if resumed else "wb") as file:
            since, before = time.monotonic(), done
            while data := _read(response):
                file.write(data)
                done += len(data)
                if done > limit:
                    file.truncate(0)
                    raise MirrorError(f"it sent more than {limit:,} bytes, which the file does not have")
                if (waited := time.monotonic() - since) > TIMEOUT:
                    if done - before < SLOWEST * waited:
                        raise MirrorError(f"{done - before:,} bytes in {waited:.0f} seconds are too few")
                    since, before = time.monotonic(), done
                if progress:
                    progress(part.name.removesuffix(".part"), done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise MirrorError(f"the connection closed after {done:,} of {total:,} bytes")
    return resumed


def _open(address: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"scorefield/{__version__}", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        opener = urllib.request.build_opener(_Http, _Https)
        return opener.open(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise MirrorError(f"HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise MirrorError(_words(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MirrorError(_words(error)) from None


class _Prompt(http.client.HTTPConnection):
    """A connection whose headers are there in time, not only each of their bytes."""

    def getresponse(self) -> http.client.HTTPResponse:
        late = threading.Event()

        def end() -> None:
            late.set()
            if self.sock is not None:
                with contextlib.suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(TIMEOUT, end)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException):
            if not late.is_set():
                raise
        else:
            if not late.is_set():
                return response
            response.close()  # of the headers there were, as if they were all
        finally:
            timer.cancel()
        raise TimeoutError(f"no whole answer in {TIMEOUT:g} seconds")


class _PromptTls(_Prompt, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Prompt, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PromptTls, req)


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)  # what is there: `read` waits for all of it
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(_words(error)) from None


def _words(error: object) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
