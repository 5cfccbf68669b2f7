"""How long training will take: measured after the first steps, said once, in words."""

import pytest
import torch

from scorefield.runs.pace import Pace, duration
from scorefield.training.progress import Progress


def said(rate, steps, *, event=(3, 64, 64), device="cpu", every=None, first=0):
    lines = []
    pace = Pace(lines.append, event, torch.device(device), every)
    for step in range(first, min(first + 60, steps)):
        slow = 30.0 if step - first >= 1 else 0.0  # the first steps are slow, and are not counted
        pace(Progress(step + 1, steps, 1.0, 1e-3, 1.0, slow + (step + 1) / rate))
    return lines


def test_the_rate_the_first_samples_and_the_whole_are_said_once():
    assert said(4.0, 8000, every=250) == [
        "4 steps a second on cpu: the first samples in 58 s, all 8,000 steps in 33 min"
    ]  # 230 and 7,980 steps are left
    assert said(4.0, 8000) == ["4 steps a second on cpu: all 8,000 steps in 33 min"]
    assert said(4.0, 8000, every=250, first=200) == [
        "4 steps a second on cpu: the first samples in 8 s, all 8,000 steps in 32 min"
    ]  # of a run that goes on


def test_a_gpu_is_named_where_it_is_worth_it():
    worth = ". A GPU is worth it above 64 x 64 pixels, or for more than an hour"
    assert said(4.0, 800, event=(3, 128, 128))[0].endswith(worth)
    assert said(1.0, 8000)[0].endswith("all 8,000 steps in 2.2 h" + worth)
    assert "GPU" not in said(1.0, 8000, device="cuda")[0]


def test_of_what_is_over_soon_nothing_is_said():
    assert said(100.0, 1000) == []
    assert said(1.0, 20) == []


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (1500, "25 min"), (12600, "3.5 h")])
def test_durations_are_words(seconds, words):
    assert duration(seconds) == words
