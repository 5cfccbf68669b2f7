"""Checkpoint folders: what is written is read, what is not whole is passed over, what is old is deleted."""

import json
import os

import pytest

from scorefield.training import checkpoints

FILES = {"model.safetensors": b"weights" * 100, "optim.safetensors": b"moments" * 50}


def steps(root):
    return sorted(int(path.name[5:]) for path in root.glob("step-*"))


def save(root, *which):
    for step in which:
        checkpoints.write(root, step, FILES, {"step": step})


def quiet(line):
    pytest.fail(f"nothing was to be said; got {line!r}")


def test_what_is_written_is_read(tmp_path):
    folder = checkpoints.write(tmp_path / "checkpoints", 12, FILES, {"step": 12, "loss": float("nan"), "x": 0.1 + 0.2})
    assert folder.name == "step-000012"
    assert {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} == FILES
    assert checkpoints.read_state(folder)["x"] == 0.1 + 0.2
    assert checkpoints.latest(tmp_path / "checkpoints", quiet) == folder
    checkpoints.verify(folder)
    assert os.listdir(tmp_path / "checkpoints") == [folder.name]


def test_the_newest_is_by_number_not_by_name(tmp_path):
    save(tmp_path, 999_999, 1_000_000, 20)
    newest = checkpoints.latest(tmp_path, quiet)
    assert newest is not None
    assert newest.name == "step-1000000"


def test_other_things_in_the_folder_are_no_checkpoints(tmp_path):
    save(tmp_path, 3)
    (tmp_path / "step-best").mkdir()
    (tmp_path / "step-12").mkdir()
    (tmp_path / "step-000099.zip").write_bytes(b"")
    newest = checkpoints.latest(tmp_path, quiet)
    assert newest is not None
    assert newest.name == "step-000003"
    assert checkpoints.latest(tmp_path / "nowhere", quiet) is None


def test_a_whole_checkpoint_is_kept_and_a_damaged_one_replaced(tmp_path):
    save(tmp_path, 5)
    checkpoints.write(tmp_path, 5, {"model.safetensors": b"other"}, {"step": 5})
    assert (tmp_path / "step-000005" / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    (tmp_path / "step-000005" / "model.safetensors").write_bytes(b"cut")
    save(tmp_path, 5)
    checkpoints.verify(tmp_path / "step-000005")


def test_all_but_the_newest_are_deleted_and_every_so_manieth_is_kept(tmp_path):
    save(tmp_path, *range(10, 80, 10))
    checkpoints.prune(tmp_path, 70, keep=2)
    assert steps(tmp_path) == [60, 70]
    save(tmp_path, *range(80, 130, 10))
    checkpoints.prune(tmp_path, 120, keep=2, keep_every=40)
    assert steps(tmp_path) == [80, 110, 120]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_checkpoint_a_run_went_on_from_outlives_damaged_newer_ones(tmp_path, keep):
    """Steps 30 and 40 are damaged; the run goes on from 20 and saves 25: that, and no wreck, must be there to stay."""
    save(tmp_path, 20, 30, 40)
    for step in (30, 40):
        (tmp_path / f"step-{step:06d}" / "model.safetensors").unlink()
    save(tmp_path, 25)
    checkpoints.prune(tmp_path, 25, keep=keep)
    newest = checkpoints.latest(tmp_path, lambda line: None)
    assert newest is not None
    assert newest.name == "step-000025"
    assert steps(tmp_path) == [20, 25][-keep:]
    save(tmp_path, 30, 35, 40)
    checkpoints.prune(tmp_path, 40, keep=keep)
    assert steps(tmp_path) == [30, 35, 40][-keep:]
    assert checkpoints.latest(tmp_path, quiet) == tmp_path / "step-000040"


def test_leftovers_of_a_dead_writer_are_swept_and_those_of_a_living_one_are_not(tmp_path):
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitpid(ended, 0)
    for pid in (ended, os.getpid(), os.getppid()):
        (tmp_path / f".step-000001.{pid}.tmp").mkdir()
    save(tmp_path, 2)
    assert [path.name for path in tmp_path.glob(".*")] == [f".step-000001.{os.getppid()}.tmp"]


def test_the_manifest_is_for_people_too(tmp_path):
    save(tmp_path, 7)
    manifest = json.loads((tmp_path / "step-000007" / "manifest.json").read_text())
    assert manifest["step"] == 7
    assert manifest["files"]["model.safetensors"]["size"] == 700
    assert len(manifest["files"]["state.json"]["sha256"]) == 64
