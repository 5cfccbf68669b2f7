"""Where a system lacks what POSIX has, as Windows does: everything imports, and a run is saved and goes on."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, os, pkgutil, sys

for name in ("fcntl", "grp", "posix_ipc", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None  # an import of it fails
del os.O_DIRECTORY, os.pread, os.pwrite, os.fork, os.getuid

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
fit(path := __import__("pathlib").Path(sys.argv[1]), steps=4, checkpoint_every=2)
print(fit(path, steps=6, checkpoint_every=2).history.step)
print(sorted(p.name for p in (path / "checkpoints").iterdir()))
"""


def test_a_run_needs_nothing_of_posix(tmp_path):
    cases = str(Path(__file__).parents[1] / "training")
    program = f"import sys; sys.path.append({cases!r}){PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "run")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[1, 2, 3, 4, 5, 6]", "['step-000002', 'step-000004', 'step-000006']"]
