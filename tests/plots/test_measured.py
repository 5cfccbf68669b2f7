"""Pictures of what was measured: the numbers are in the artists, and the axes say what they are."""

import re

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from scorefield import plots
from scorefield.plots.detection import Scored, detection
from scorefield.plots.likelihood import likelihoods
from scorefield.plots.page import Row, Section, write_page


def test_likelihoods_are_counted_and_the_ends_shown():
    values = torch.linspace(0, 4, 41)
    fig = likelihoods(values, "2.0", unit="bits per dimension")
    (ax,) = fig.axes
    assert sum(patch.get_height() for patch in ax.patches if isinstance(patch, Rectangle)) == 41
    assert np.asarray(ax.lines[0].get_xdata())[0] == pytest.approx(2.0)
    assert ax.get_xlabel() == "bits per dimension"
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["mean 2.0"]
    shown = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    fig = likelihoods(values, "2.0", unit="bits", ends={"most likely": (shown, values[:3])})
    below = fig.axes[1]
    assert below.get_title() == "most likely, and their bits; 3 of 41"
    pixels = np.asarray(below.images[0].get_array())
    assert pixels.shape == (4, 3 * 6, 3)
    assert (pixels[:, 5] == 255).all()  # white between
    assert (pixels[:, 6:11, 0] == np.round(255 * shown[1, 0].numpy().astype(np.float64))).all()
    assert [t.get_text() for t in below.get_xticklabels()] == ["0.00", "0.10", "0.20"]
    fig = likelihoods(values, "2", unit="bits", ends={"a": (shown, values[:3])}, names={"a": ["#7", "#1", "#2"]})
    assert [t.get_text() for t in fig.axes[1].get_xticklabels()] == ["#7\n0.00", "#1\n0.10", "#2\n0.20"]


def test_detection_draws_the_roc_curve_and_the_p_values():
    reference, judged = np.array([0.0, 1.0, 2.0]), np.array([1.5, 3.0])
    scored = {"likelihood": Scored(reference, judged, np.array([0.5, 0.25]), 5 / 6)}
    fig = detection(scored)
    left, right = fig.axes
    roc = left.lines[0]
    x, y = np.asarray(roc.get_xydata()).T
    assert (np.diff(x) * (y[1:] + y[:-1]) / 2).sum() == pytest.approx(5 / 6)
    assert roc.get_label() == "likelihood, area 0.833"
    assert (left.get_xlabel(), left.get_ylabel()) == ("reference called anomalous", "judged data called anomalous")
    assert np.asarray(right.lines[0].get_xydata()).tolist() == [[0.25, 0.5], [0.5, 1.0]]
    fig = detection(scored, {"most": torch.zeros(2, 3, 4, 4), "least": torch.ones(2, 3, 4, 4)})
    assert [ax.get_title() for ax in fig.axes[2:]] == ["most", "least"]
    fig = detection(scored, {"most": torch.zeros(2, 3, 4, 4)}, {"most": ["#3 (cat)", "#1 (dog)"]})
    assert [t.get_text() for t in fig.axes[2].get_xticklabels()] == ["#3 (cat)", "#1 (dog)"]


def test_a_page_escapes_what_it_is_told(tmp_path):
    plots.save(plots.figure(2, 1), tmp_path / "p.png", dpi=220)
    path = write_page(
        tmp_path / "page.html",
        title="<b>",
        lead="a & b",
        rows=[Row("loss", "1 < 2", "x")],
        sections=[Section("curve", "of it", tmp_path / "p.png", 'a "curve"')],
        facts=[],
    )
    text = path.read_text(encoding="utf-8")
    assert "&lt;b&gt;" in text
    assert "a &amp; b" in text
    assert "1 &lt; 2" in text
    assert 'src="data:image/png;base64,iVBORw0KGgo' in text
    assert 'width="220" height="110"' in text  # 2 x 1 inches, whatever the dots an inch
    assert 'alt="a &#34;curve&#34;"' in text
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|<script', text)  # needs no other file, and runs nothing
    assert {p.name for p in tmp_path.iterdir()} == {"p.png", "page.html"}  # nothing half written
