"""Where a system lacks what POSIX has, as Windows does: all imports, a run is saved and goes on, commands work."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, os, pkgutil, sys

for name in ("fcntl", "grp", "posix_ipc", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None  # an import of it fails
del os.O_DIRECTORY, os.O_NOFOLLOW, os.pread, os.pwrite, os.fork, os.getuid, os.geteuid, os.mkfifo

import filelock
class Lock(filelock.SoftFileLock):  # filelock's own answer to a system without flock
    pass
filelock.FileLock = Lock

import scorefield
for module in pkgutil.walk_packages(scorefield.__path__, "scorefield."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name in sys.modules:
                raise

from training_cases import fit
path = __import__("pathlib").Path(sys.argv[1])
fit(path, steps=4, checkpoint_every=2)
print(fit(path, steps=6, checkpoint_every=2).history.step)
print(sorted(p.name for p in (path / "checkpoints").iterdir()))

from scorefield.cli import main
small = ["network.hidden=8", "network.depth=1", "training.batch_size=16", "logging.checkpoint_every=2"]
for command in (
    ["train", "--preset", "tabular", "--steps", "4", "--out", "run", *(a for s in small for a in ("--set", s))],
    ["train", "--resume", "--steps", "6", "--out", "run"],
    ["sample", "run", "--n", "4", "--out", "a.csv"],
    ["likelihood", "run", "--n", "4", "--elbo-draws", "2", "--out", "a.png"],
):
    try:
        main(command)
    except SystemExit as stop:
        print(command[0], stop.code, file=sys.stderr)
print(sorted(os.listdir()))
"""


def test_a_run_needs_nothing_of_posix(tmp_path):
    cases = str(Path(__file__).parents[1] / "training")
    program = f"import sys; sys.path.append({cases!r}){PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "fit")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert said == ["train 0", "train 0", "sample 0", "likelihood 0"]
    first, second, *_, last = done.stdout.splitlines()
    assert (first, second) == ("[1, 2, 3, 4, 5, 6]", "['step-000002', 'step-000004', 'step-000006']")
    assert last == "['a.csv', 'a.json', 'a.npz', 'a.png', 'fit', 'run']"
