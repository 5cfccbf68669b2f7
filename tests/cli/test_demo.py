"""`scorefield demo` draws what it says, the same each time, and never over what is there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCORE_FIELD = {"score-field.png", "score-field.gif", "ddpm-ddim.png", "ddpm-ddim.gif", "low-density.png"}
SCHEDULES = {"brownian.png", "forward-paths.png", "forward-filmstrip.png", "schedules.png"}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def assert_drawn(path: Path) -> None:
    """A blank picture has one colour; a drawn one has ink, and more than a border of it."""
    picture = pixels(path)
    assert picture.std() > 5, f"{path.name} is blank"
    middle = picture[picture.shape[0] // 4 : -picture.shape[0] // 4, picture.shape[1] // 4 : -picture.shape[1] // 4]
    assert len(np.unique(middle.reshape(-1, 3), axis=0)) > 8, f"{path.name} shows nothing in its middle"


@pytest.mark.parametrize("distribution", ["eight-gaussians", "two-moons"])
def test_score_field_writes_every_picture(cli, tmp_path, distribution):
    done = cli("demo", "score-field", "--quick", "--distribution", distribution, "--out", "pictures")
    assert done.returncode == 0, done.stderr
    written = {p.name for p in (tmp_path / "pictures").iterdir()}
    assert written == SCORE_FIELD
    for name in sorted(written):
        assert_drawn(tmp_path / "pictures" / name)
        assert name in done.stdout


def test_few_steps_draws_paths_and_jumps(cli, tmp_path):
    done = cli("demo", "few-steps", "--quick", "--out", "pictures")
    assert done.returncode == 0, done.stderr
    for name in ("few-step-paths.png", "one-jump.png"):
        assert_drawn(tmp_path / "pictures" / name)
        assert name in done.stdout


def test_the_animations_move(cli, tmp_path):
    assert cli("demo", "score-field", "--quick", "--out", "pictures").returncode == 0
    for name in ("score-field.gif", "ddpm-ddim.gif"):
        gif = Image.open(tmp_path / "pictures" / name)
        assert gif.n_frames >= 12  # type: ignore[attr-defined]
        first = np.asarray(gif.convert("RGB"), dtype=float)
        gif.seek(gif.n_frames - 1)  # type: ignore[attr-defined]
        last = np.asarray(gif.convert("RGB"), dtype=float)
        assert np.abs(first - last).mean() > 3
        assert gif.info["loop"] == 0
        # the palette keeps the particles' colours: something is red in the first frame
        assert ((first[..., 0] > 180) & (first[..., 2] < 120)).any()


def test_schedules_writes_every_picture_the_same_each_time(cli, tmp_path):
    assert cli("demo", "schedules", "--out", "a").returncode == 0
    assert cli("demo", "schedules", "--out", "b").returncode == 0
    assert {p.name for p in (tmp_path / "a").iterdir()} == SCHEDULES
    for name in SCHEDULES:
        assert_drawn(tmp_path / "a" / name)
        a, b = (Image.open(tmp_path / folder / name) for folder in "ab")
        assert a.tobytes() == b.tobytes()
        assert a.info["Command"] == "scorefield demo schedules --out a"


def test_pictures_are_not_overwritten_unless_asked(cli, refused, tmp_path):
    mine = tmp_path / "here" / "brownian.png"
    mine.parent.mkdir()
    mine.write_text("mine")
    line = refused("demo", "schedules", "--out", "here")
    assert "here/brownian.png exists" in line
    assert "--overwrite" in line
    assert mine.read_text() == "mine"
    assert cli("demo", "schedules", "--out", "here", "--overwrite").returncode == 0
    assert_drawn(mine)


def test_a_second_run_without_out_goes_beside_the_first(cli, tmp_path):
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "schedules.png").write_text("earlier")
    done = cli("demo", "schedules")
    assert done.returncode == 0, done.stderr
    assert "runs/demo/schedules.png exists: writing to runs/demo-2" in done.stdout
    assert (tmp_path / "runs" / "demo" / "schedules.png").read_text() == "earlier"
    assert_drawn(tmp_path / "runs" / "demo-2" / "schedules.png")


def test_unknown_distribution_names_the_nearest(refused):
    assert refused("demo", "score-field", "--distribution", "two-mons") == (
        "error: unknown distribution 'two-mons'. Did you mean 'two-moons'?\n"
    )


def test_low_density_shows_the_failure_and_its_repair():
    """The figure's claim, on its own numbers: plain Langevin's weights are wrong, annealed Langevin's are right."""
    from scorefield.demos import score_field

    weights, plain, annealed = score_field.mode_weights(seed=1, chains=2000, steps=600)
    assert 0.5 * np.abs(plain - weights).sum() > 0.12
    assert 0.5 * np.abs(annealed - weights).sum() < 0.05  # 2,000 multinomial draws over 8 modes: 0.023 on average
