"""For every test: Ctrl-C is heard, chance has a seed, waiting has an end, and what several workers may share out.

`make test` runs two workers (pytest-xdist). A file's tests stay together, since they share what they trained; those of
files that start processes or send signals are one group, begun first, so that no two of them run at a time.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from rounding import OtherKernels

# A shell starts background jobs with SIGINT ignored, and children inherit that: the tests of Ctrl-C need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


STARTERS = {"signal", "subprocess"}  # who imports one of these starts processes or sends signals
PATIENCE = 120.0  # seconds: a limit to waiting on a busy machine, no measure of anything


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-kernels",
        action="store_true",
        help="move every matrix product, convolution and solve by its last place, another way for every shape",
    )


@pytest.fixture(scope="session", autouse=True)
def _kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    with OtherKernels() if request.config.getoption("--other-kernels") else contextlib.nullcontext():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    if not config.pluginmanager.hasplugin("xdist") or config.getoption("dist") != "loadgroup":
        return
    alone = {item: not STARTERS.isdisjoint(vars(item.module)) for item in items}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("processes" if alone[item] else str(item.path)))
    items.sort(key=lambda item: not alone[item])


@pytest.fixture
def chance() -> random.Random:
    """When to kill: from a seed that is new each time, shown where the test fails, and repeated by TEST_SEED=..."""
    seed = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool], subprocess.Popen[str]], None]:
    """`wait_for(condition, process)`: until it holds. It fails if the process ends before, or in PATIENCE seconds."""

    def wait(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if process.poll() is not None:
                pytest.fail(f"it ended with {process.returncode} before it came to that:\n{process.communicate()}")
            if time.monotonic() > end:
                pytest.fail(f"it did not come to that in {PATIENCE:g} seconds")
            time.sleep(0.005)

    return wait
