"""What training will take, said after its first steps: who waits is told for how long, and what would make it less."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from scorefield.training.progress import Progress

WARM, MEASURED = 5, 20  # steps that are not counted, and after which it is said
WORTH_SAYING = 20.0  # seconds that are left
LARGE = 64  # pixels a side, above which a GPU is worth it
LONG = 3600.0  # seconds, above which too


class Pace:
    """Called after every step, it says once how long the first samples and all the steps will take.

    Args:
        say: takes the line.
        event: shape of a datum.
        device: that trains.
        sample_every: steps between pictures of samples; None for none.
    """

    def __init__(
        self, say: Callable[[str], None], event: Sequence[int], device: torch.device, sample_every: int | None
    ) -> None:
        self.say, self.event, self.device, self.sample_every = say, tuple(event), device, sample_every
        self._done, self._from = 0, 0.0

    def __call__(self, progress: Progress) -> None:
        self._done += 1
        if self._done == WARM:
            self._from = progress.seconds
        if self._done == MEASURED and progress.steps > progress.step:
            self._tell(progress, (MEASURED - WARM) / max(progress.seconds - self._from, 1e-9))

    def _tell(self, progress: Progress, rate: float) -> None:
        left = (progress.steps - progress.step) / rate
        if left < WORTH_SAYING:
            return
        every = self.sample_every
        until = None if every is None else every - progress.step % every
        soon = until is not None and progress.step + until < progress.steps
        first = f"the first samples in {duration(until / rate)}, " if soon and until else ""
        how_long = f"{first}all {progress.steps:,} steps in {duration(left)}"
        line = f"{rate:.3g} steps a second on {self.device.type}: {how_long}"
        large = len(self.event) == 3 and max(self.event[1:]) > LARGE
        if self.device.type == "cpu" and (large or left > LONG):
            line += f". A GPU is worth it above {LARGE} x {LARGE} pixels, or for more than an hour"
        self.say(line)


def duration(seconds: float) -> str:
    """As a person says it: "40 s", "25 min", "3.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
