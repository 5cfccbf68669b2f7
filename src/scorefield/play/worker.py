"""One thread that computes, for several clients: of each the newest request, and what is stale stops.

A client has at most one request waiting and one that runs. A newer one takes the place of what waits, and what runs is
stopped before the next evaluation of its network. As many clients may wait as the queue is long.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

QUEUE = 16  # clients waiting, at most


class Busy(Exception):
    """So many wait that no more are taken."""


class Stale(Exception):
    """Nobody wants this any more: raised where a network would be evaluated."""


class Job:
    """What is to be done, in `work`, which calls `check` again and again."""

    def __init__(self) -> None:
        self.stale = threading.Event()
        self.evaluations = 0

    def work(self) -> None:
        """Does it; nothing may be raised."""
        raise NotImplementedError

    def check(self) -> None:
        """Counts an evaluation.

        Raises:
            Stale: if the job is no longer wanted.
        """
        if self.stale.is_set():
            raise Stale
        self.evaluations += 1


class Worker:
    """The thread, which begins with the first job and ends with the process or with `stop`."""

    def __init__(self, queue: int = QUEUE) -> None:
        self.queue, self.stopped = queue, False
        self.changed = threading.Condition()
        self.waiting: dict[Hashable, Job] = {}
        self.running: tuple[Hashable, Job] | None = None
        self.thread = threading.Thread(target=self._loop, name="scorefield-play", daemon=True)

    def submit(self, client: Hashable, job: Job) -> Job | None:
        """Takes a client's newest job; returns the one that waited in its place, which will not be done.

        Raises:
            Busy: if too many others wait.
        """
        with self.changed:
            replaced = self.waiting.get(client)
            if replaced is None and len(self.waiting) >= self.queue:
                raise Busy
            self._stop_running(client)
            self.waiting[client] = job  # in the place of the old one, if there was one
            if not self.thread.is_alive() and not self.stopped:
                self.thread.start()
            self.changed.notify()
            return replaced

    def forget(self, client: Hashable) -> Job | None:
        """Nothing of this client is wanted any more; returns what waited."""
        with self.changed:
            self._stop_running(client)
            return self.waiting.pop(client, None)

    def stop(self, seconds: float) -> bool:
        """Ends everything; whether the thread has ended within so many seconds."""
        with self.changed:
            self.stopped = True
            self.waiting.clear()
            if self.running is not None:
                self.running[1].stale.set()
            self.changed.notify()
        if self.thread.is_alive():
            self.thread.join(seconds)
        return not self.thread.is_alive()

    def _stop_running(self, client: Hashable) -> None:
        if self.running is not None and self.running[0] is client:
            self.running[1].stale.set()

    def _loop(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.stopped or self.waiting)
                if self.stopped:
                    return
                client = next(iter(self.waiting))
                self.running = client, self.waiting.pop(client)
            self.running[1].work()
            with self.changed:
                self.running = None
