"""Fetching from a mirror on this machine: whole files or none, by whatever way they came."""

import gzip
import os
import socket

import pytest

from scorefield import data
from scorefield.data import published

FIRST = "train-images-idx3-ubyte.gz"


def fetch(folder, *mirrors, **options):
    return data.fetch("mnist", data_dir=folder, mirrors=[getattr(m, "address", m) for m in mirrors], **options)


def held(folder):
    return {p.name: p.read_bytes() for p in (folder / "mnist").iterdir()}


def test_all_files_arrive_and_are_found(tiny, mirrors, tmp_path):
    mirror, seen = mirrors(tiny.files), []
    files = fetch(tmp_path, mirror, progress=lambda *step: seen.append(step))
    assert held(tmp_path) == tiny.files  # nothing else: no .part, no probe
    assert sorted(p.name for p in files) == sorted(tiny.files)
    size = len(tiny.files[FIRST])
    assert [step for step in seen if step[0] == FIRST][-1] == (FIRST, size, size)
    assert len(data.named("mnist", data_dir=tmp_path)) == 60


def test_what_is_there_is_not_fetched_again(tiny, mirrors, tmp_path):
    mirror = mirrors(tiny.files)
    fetch(tmp_path, mirror)
    (tmp_path / "mnist" / FIRST).write_bytes(b"damaged since")
    mirror.asked.clear()
    fetch(tmp_path, mirror)
    assert mirror.asked == [(FIRST, None)]
    assert held(tmp_path) == tiny.files


def test_a_broken_transfer_is_resumed_where_it_broke(tiny, mirrors, tmp_path):
    mirror = mirrors(tiny.files)
    mirror.break_after = 1000
    size = len(tiny.files[FIRST])
    with pytest.raises(ValueError, match=f"closed after 1,000 of {size:,} bytes"):
        fetch(tmp_path, mirror)
    assert held(tmp_path) == {f"{FIRST}.part": tiny.files[FIRST][:1000]}
    mirror.break_after = None
    mirror.asked.clear()
    fetch(tmp_path, mirror)
    assert [asked for asked in mirror.asked if asked[0] == FIRST] == [(FIRST, "bytes=1000-")]
    assert held(tmp_path) == tiny.files


def test_a_transfer_goes_on_from_the_next_mirror(tiny, mirrors, tmp_path):
    broken, sound = mirrors(tiny.files), mirrors(tiny.files)
    broken.break_after = 1000
    fetch(tmp_path, broken, sound)
    assert [asked for asked in sound.asked if asked[0] == FIRST] == [(FIRST, "bytes=1000-")]
    assert held(tmp_path) == tiny.files


def test_a_mirror_that_falls_silent_is_left_for_the_next(tiny, mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr("scorefield.data.download.TIMEOUT", 0.2)
    silent, sound = mirrors(tiny.files), mirrors(tiny.files)
    silent.break_after, silent.stalls = 1000, True
    with pytest.raises(ValueError, match="timed out"):
        fetch(tmp_path, silent)
    fetch(tmp_path, silent, sound)
    assert held(tmp_path) == tiny.files


def test_headers_that_come_a_byte_at_a_time_are_not_waited_for(tiny, mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr("scorefield.data.download.TIMEOUT", 0.4)
    slow, sound = mirrors(tiny.files), mirrors(tiny.files)
    slow.trickles = True
    with pytest.raises(ValueError, match=r"no whole answer in 0\.4 seconds"):
        fetch(tmp_path, slow)
    monkeypatch.setattr("scorefield.data.download.TIMEOUT", 30.0)  # a sound one may take its time on a busy machine
    fetch(tmp_path, sound)
    assert held(tmp_path) == tiny.files


def test_a_server_without_ranges_starts_over(tiny, mirrors, tmp_path):
    mirror = mirrors(tiny.files)
    mirror.ranges = False
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{FIRST}.part").write_bytes(tiny.files[FIRST][:1000])
    fetch(tmp_path, mirror)
    assert held(tmp_path) == tiny.files


@pytest.mark.parametrize("part", [b"of another compression" * 10, b"longer than the file" * 10_000])
def test_a_part_that_does_not_fit_is_fetched_anew(tiny, mirrors, tmp_path, part):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{FIRST}.part").write_bytes(part)
    fetch(tmp_path, mirrors(tiny.files))
    assert held(tmp_path) == tiny.files


def test_a_wrong_file_is_removed_and_the_next_mirror_asked(tiny, mirrors, tmp_path):
    wrong = mirrors({**tiny.files, FIRST: gzip.compress(b"something else")})
    sound = mirrors(tiny.files)
    fetch(tmp_path, wrong, sound)
    assert held(tmp_path) == tiny.files
    assert [name for name, _ in sound.asked] == [FIRST]  # the rest came from the first
    (tmp_path / "mnist" / FIRST).unlink()
    with pytest.raises(
        ValueError, match=r"no mirror gave train-images\S+ of mnist: .*SHA-256 is not the published one"
    ):
        fetch(tmp_path, wrong)
    assert FIRST not in held(tmp_path)
    assert f"{FIRST}.part" not in held(tmp_path)


def test_every_mirrors_reason_is_given_in_one_line(tiny, mirrors, tmp_path):
    empty = mirrors({})
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"  # bound, and not listening
        with pytest.raises(ValueError, match="no mirror gave") as caught:
            fetch(tmp_path, empty, closed)
    line = str(caught.value)
    assert f"{empty.address}{FIRST}: HTTP 404" in line
    assert f"{closed}/{FIRST}: connection refused" in line
    assert "\n" not in line
    assert held(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_found_before_any_mirror_is_asked(tiny, mirrors, tmp_path):
    mirror = mirrors(tiny.files)
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match="file"):
        fetch(tmp_path / "file", mirror)
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o555)
        with pytest.raises(PermissionError):
            fetch(tmp_path / "locked", mirror)
    assert mirror.asked == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, where every write says the disk is full")
def test_a_full_disk_stops_at_once_and_blames_no_mirror(tiny, mirrors, tmp_path):
    mirror, other = mirrors(tiny.files), mirrors(tiny.files)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{FIRST}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        fetch(tmp_path, mirror, other)
    assert other.asked == []


def test_addresses_that_are_not_http(tiny, tmp_path):
    with pytest.raises(ValueError, match="a mirror must be an http or https address; got 'file:///etc/'"):
        fetch(tmp_path, "file:///etc/")


def test_the_table_of_published_sets_is_complete():
    for known in published.SETS.values():
        assert sorted(known.sums) == sorted(
            f"{p}-{k}-ubyte" for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")
        )
        assert all(len(s) == 64 for s in known.sums.values())
        assert len(known.class_names) == 10
        assert len(known.mirrors) >= 2
