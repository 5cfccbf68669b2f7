"""A run of pictures, cheap and untrained enough, and a server that answers for it."""

import contextlib
import shutil
import threading
from typing import NamedTuple

import pytest

import scorefield as sf
from scorefield import recipes, runs
from scorefield.play.server import listening, server
from scorefield.play.wire import Desk
from scorefield.play.worker import Worker
from scorefield.recipes import presets


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The folder of a run of 8 x 8 digits with classes."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    changes = ["network.width=8", "training.batch_size=32", "training.steps=20", "optim.warmup=2"]
    runs.train(folder, recipes.override(presets.digits(), changes))
    return folder


@pytest.fixture
def run(digits):
    return sf.load(digits)


class Served(NamedTuple):
    port: int
    desk: Desk


@pytest.fixture
def served(run):
    """`served(queue=16)` serves the run as `digits` in this process, in a thread."""
    with contextlib.ExitStack() as stack:

        def serve(queue: int = 16) -> Served:
            held, ready = listening(0), threading.Event()
            held.listen()  # who is early waits
            port, desk = held.getsockname()[1], Desk({"digits": run}, Worker(queue))
            serving = server(port, ready.set, desk)
            thread = threading.Thread(target=serving.run, args=([held],))
            thread.start()

            def end() -> None:
                serving.should_exit = True
                thread.join()
                held.close()
                assert desk.worker.stop(10)

            stack.callback(end)
            assert ready.wait(30)
            return Served(port, desk)

        yield serve


class Gate:
    """Holds every evaluation of a network, at its end, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.reached.set()
        assert self.open.wait(30)


@pytest.fixture
def gate(run):
    held = Gate()
    handle = run.model.register_forward_hook(held)
    yield held
    held.open.set()
    handle.remove()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield opened
        opened.close()
