"""Files: whole, small, and the same bytes each time; nothing of a figure is global."""

import contextvars
import io
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import scorefield as sf
from scorefield import plots
from scorefield._origin import running
from scorefield.plots.style import INK


def figure():
    fig = plots.figure(3, 2)
    plots.curves(fig.add_subplot(), [0, 1, 2], {"a": [1, 3, 2], "b": [0, 1, 4]}, x_label="t")
    return fig


def test_a_figure_is_of_its_own_inches_and_saves_the_same_bytes(tmp_path):
    raw = plots.png_bytes(figure(), dpi=100)
    assert Image.open(io.BytesIO(raw)).size == (300, 200)
    assert plots.save(figure(), tmp_path / "a.png", dpi=100) == tmp_path / "a.png"
    assert (tmp_path / "a.png").read_bytes() == raw
    assert b"matplotlib" not in plots.png_bytes(figure(), colors=None).lower()  # no version of another program
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_picture_says_what_made_it(tmp_path, monkeypatch):
    """PNG text chunks, a GIF's comment: the version, and the command where one runs; quoted as a shell needs it."""
    version = f"scorefield {sf.__version__}"
    assert Image.open(io.BytesIO(plots.png_bytes(figure()))).info["Software"] == version
    contextvars.copy_context().run(_made_by_a_command, tmp_path)
    for name in ("a.png", "b.png"):
        info = Image.open(tmp_path / name).info
        assert (info["Software"], info["Command"]) == (version, "scorefield sample 'my run' --label 'π'")
    assert Image.open(tmp_path / "a.gif").info["comment"].decode() == f"{version}: {info['Command']}"


def _made_by_a_command(folder):
    running(["sample", "my run", "--label", "π"])
    plots.save(figure(), folder / "a.png")
    plots.save(figure(), folder / "b.png", colors=None)
    plots.save_gif(figure(), lambda i: None, 2, folder / "a.gif")


def test_few_colours_look_like_all_and_are_smaller():
    few, every = (plots.png_bytes(figure(), colors=colors) for colors in (64, None))
    assert len(few) < len(every)
    a, b = (np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), dtype=int) for raw in (few, every))
    assert len(np.unique(a.reshape(-1, 3), axis=0)) <= 64
    assert np.abs(a - b).mean() < 1


def test_clean_axes_have_no_ticks_and_a_frame_only_when_asked():
    for frame in (False, True):
        ax = plots.figure(2, 2).add_subplot()
        plots.clean(ax, frame=frame)
        assert (len(ax.get_xticks()), len(ax.get_yticks())) == (0, 0)
        assert {spine.get_visible() for spine in ax.spines.values()} == {frame}


def test_the_density_goes_from_paper_to_blue():
    assert plots.DENSITY(0.0)[:3] == (1, 1, 1)
    assert np.diff([sum(plots.DENSITY(v)[:3]) for v in np.linspace(0, 1, plots.GIF_LEVELS)]).max() < 0


@pytest.fixture(scope="module")
def gif(tmp_path_factory):
    """A point that moves to the right in four frames, and what `draw` was asked for."""
    fig = plots.figure(2, 2)
    ax = fig.add_subplot()
    ax.set_position((0.0, 0.0, 1.0, 1.0))
    plots.clean(ax)
    ax.set(xlim=(0, 4), ylim=(0, 1))
    (point,) = ax.plot([], [], "s", color=INK, markersize=12)
    asked = []

    def draw(i: int) -> None:
        asked.append(i)
        point.set_data([i + 0.5], [0.5])

    path = plots.save_gif(
        fig, draw, 4, tmp_path_factory.mktemp("gif") / "a.gif", seconds_per_frame=0.05, hold=2.0, dpi=50
    )
    return Image.open(path), asked


def test_an_animation_has_its_frames_in_time(gif):
    film, asked = gif
    assert asked == [0, 1, 2, 3]
    assert (film.n_frames, film.size, film.info["loop"]) == (4, (100, 100), 0)
    durations = []
    for i in range(4):
        film.seek(i)
        durations.append(film.info["duration"])
    assert durations == [50, 50, 50, 2000]  # milliseconds; the last one is held


def test_a_frame_shows_what_was_drawn_and_nothing_of_the_one_before(gif):
    film, _ = gif
    for i in range(4):
        film.seek(i)
        dark = np.argwhere(np.asarray(film.convert("L")) < 100)
        assert dark.mean(0) == pytest.approx([49.5, 25 * i + 12], abs=1.5)  # row, column, of 100


def test_ink_and_paper_keep_their_colours(gif):
    film, _ = gif
    film.seek(2)
    pixels = np.asarray(film.convert("RGB"))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[50, 62].tolist() == [round(255 * c) for c in to_rgb(INK)]
