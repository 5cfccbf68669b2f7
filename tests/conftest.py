"""For every test."""

import contextlib
import signal
from collections.abc import Iterator

import pytest

from rounding import OtherKernels

# A shell starts background jobs with SIGINT ignored, and children inherit that: the tests of Ctrl-C need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
