"""How far this process's memory grows while something runs, where the system says."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def grows_less_than(most: int) -> Iterator[None]:
    """Asks that the most memory held meanwhile is less than `most` bytes above what was held before."""
    before = _reset()
    yield
    if before is not None:
        grown = _held("VmHWM") - before
        assert grown < most, f"memory grew by {grown:,} bytes"


def _reset() -> int | None:
    try:
        REFS.write_text("5")  # the high-water mark is what is held now
        return _held("VmRSS")
    except OSError:  # no Linux
        return None


def _held(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
