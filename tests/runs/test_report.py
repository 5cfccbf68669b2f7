"""What the page of a run says and shows, for each kind of data; in a browser, at a phone's width and in the dark."""

import html
import json
import re
import shutil

import pytest
import torch

import scorefield as sf
from scorefield import plots, recipes, runs
from scorefield.conditions import Conditions
from scorefield.data.schema import plain
from scorefield.diagnostics.measured import Points
from scorefield.plots import kinds
from scorefield.plots.shown import Look
from scorefield.recipes import presets
from scorefield.runs.beside import comparable
from scorefield.runs.standing import errors_by_level

CHROMIUM = shutil.which("chromium")
SMALL = ("training.steps=4", "optim.warmup=2", "training.batch_size=8")
RUNS = {
    "digits": (presets.digits, ("network.width=8", *SMALL)),
    "series": (presets.series, ("network.width=8", 'data.axis="time (s)"', "data.step=0.01", 'data.unit="mV"', *SMALL)),
    "two-moons": (presets.two_moons, ("network.hidden=16", *SMALL)),
    "wine": (presets.tabular, ("network.hidden=16", "data.held_out=0", *SMALL)),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of four steps, and their pages, by name."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for name, (preset, changes) in RUNS.items():
        run = runs.train(folder / name, recipes.override(preset(), list(changes)))
        assert run is not None
        found[name] = run, run.report(n=40).read_text(encoding="utf-8")
    return found


def shown(page):
    """Title -> (text, alt) of a page's sections."""
    found = re.findall(r'<h2>(.*?)</h2><p>(.*?)</p>\s*<figure><img alt="(.*?)"', page)
    return {title: (html.unescape(text), html.unescape(alt)) for title, text, alt in found}


def test_every_kind_has_samples_beside_data_the_curve_the_levels_and_the_nearest(trained):
    for name, (_, page) in trained.items():
        titles = list(shown(page))
        assert titles[:2] == ["Samples beside data", "Training"], name
        assert {"Nearest training data", "Error by noise level"} <= set(titles)
        for title, (_, alt) in shown(page).items():
            assert len(alt) > 40, title
            assert title != alt


def test_what_is_shown_of_how_many_is_said(trained):
    digits, series = (shown(trained[name][1]) for name in ("digits", "series"))
    assert "samples on the left" in digits["Samples beside data"][0]
    assert "A row for each class; 10 classes." in digits["Samples beside data"][0]
    assert "class 0, class 1" in digits["Samples beside data"][1]
    assert "8 of 40 samples; below each the nearest of 899 training data" in digits["Nearest training data"][0]
    assert series["Samples beside data"][0].startswith("6 of 40 samples on the left, 6 of 40 held-out data of series")
    assert "over time (s)" in series["Samples beside data"][1]
    assert "Spectrum and autocorrelation" in series


def test_the_numbers_stand_beside_their_floor(trained):
    run, page = trained["digits"]
    numbers = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
    assert (numbers["n"], numbers["n_data"], numbers["finite"], numbers["nfe"]) == (40, 40, 40, 30)
    x = run.to_model(run.sample(40, label=_labels(run), seed=0).raw, torch.arange(40), seed=1).cpu()
    rows = torch.arange(40) * 898 // 40
    real = run.to_model(run.held_out().source.batch(rows).x, rows).cpu()
    assert numbers["sliced"]["value"] == pytest.approx(sf.metrics.sliced_wasserstein(x, real))
    assert f">{numbers['sliced']['value']:.4f}<" in page
    assert f"floor {numbers['sliced']['floor']:.4f}: real to real" in page
    assert f">{numbers['memorization']['value']:.1%}<" in page
    # at noise far above the data's spread an untrained denoiser's error is about the spread itself
    assert numbers["levels"]["held-out data"][-1] == pytest.approx(1, abs=0.2)
    assert numbers["held_out_over_training"] == pytest.approx(1, abs=0.3)


def _labels(run):
    return run.held_out().source.batch(torch.arange(40) * 898 // 40).cond["label"]


def test_data_of_which_nothing_is_held_out_are_called_so(trained):
    _, page = trained["wine"]
    assert "training data (nothing is held out)" in page
    assert "sliced W2, samples to the data it was trained on" in page
    assert "samples nearer to training" not in page


def test_the_error_by_level_is_the_denoisers():
    """Of the exact denoiser of Gaussian data it is that of data without structure, u / sqrt(1 + u^2)."""
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    points = Points.of(x, Conditions.of({}, len(x)), torch.arange(len(x)), 0)
    exact = sf.ExactDenoiser(sf.distributions.Gaussian(torch.zeros(2), torch.eye(2)), sf.EDM(sigma_max=20.0))
    at, errors = errors_by_level(exact, {"data": points})
    noise, error = torch.tensor(at), torch.tensor(errors["data"])
    torch.testing.assert_close(error, noise / (1 + noise**2).sqrt(), atol=0.02, rtol=0)
    assert len(noise) == 13


def test_of_few_data_few_samples_are_compared(tmp_path):
    """So that the floor is had at the sizes it stands beside."""
    assert [comparable(1000, 13, train) for train in (165, 5000, None)] == [165, 1000, 1000]
    changes = ["network.hidden=16", "data.held_out=0.3", *SMALL]
    run = runs.train(tmp_path / "run", recipes.override(presets.tabular(), changes))
    assert run is not None
    said = []
    found = runs.evaluate(run, n=300, nfe=4, likelihoods=0, warn=said.append).found
    held, train = len(run.held_out().source), 178 - len(run.held_out().source)
    assert any(f"{train} samples are compared, not 300" in line for line in said)
    assert found.rows[0].numbers["n"] == [train, held]


def test_kinds_are_told_apart():
    grey = Look(levels=256)
    assert kinds.kind((3, 8, 8), grey) == "pictures"
    assert kinds.kind((3, 8, 8), Look()) == "other"
    assert kinds.kind((4,), Look(table=plain("abcd"))) == "table"
    assert [kinds.kind(event, Look()) for event in ((2,), (31,), (32,), (2, 9))] == [
        "points", "vectors", "series", "series",
    ]  # fmt: skip


def test_events_of_no_kind_are_shown_as_numbers():
    (only,) = kinds.beside(torch.zeros(9, 2, 2, 2, 2), torch.ones(9, 2, 2, 2, 2), Look(), "data")
    assert "All numbers of 9 samples" in only.text
    assert plots.png_bytes(only.figure).startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_the_dark_is_followed(trained, browser, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    for name, (run, _) in trained.items():
        page = context.new_page()
        page.goto((run.folder / "report.html").as_uri())
        root = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert root[0] <= root[1] == width, name
        outside = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.wide')
            && e.getBoundingClientRect().right > innerWidth).map(e => e.tagName)"""
        assert page.evaluate(outside) == []
        ground, ink = page.evaluate("['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k])")
        assert (_light(ground) > _light(ink)) == (scheme == "light")
        paper = page.evaluate("getComputedStyle(document.querySelector('figure')).backgroundColor")
        assert _light(paper) == 255  # pictures stay on their paper
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        page.close()
    context.close()


def _light(color):
    return sum(int(v) for v in re.findall(r"\d+", color)[:3]) / 3


def test_a_classifier_has_its_curve_and_no_samples(tmp_path):
    recipe = recipes.override(presets.classifier(presets.tabular()), ["network.hidden=16", *SMALL])
    run = runs.train(tmp_path / "run", recipe)
    assert run is not None
    assert list(shown(run.report().read_text(encoding="utf-8"))) == ["Training", "Loss by noise level"]


def test_what_is_no_number_is_left_out_and_counted(trained, tmp_path, monkeypatch):
    """Samples that a broken model leaves: of 40, the first 25 are NaN."""
    run, _ = trained["two-moons"]
    whole = type(run).sample

    def broken(self, n, **options):
        drawn = whole(self, n, **options)
        for x in (drawn.raw, drawn.x):
            x[:25] = float("nan")
        return drawn

    monkeypatch.setattr(type(run), "sample", broken)
    page = run.report(n=40).read_text(encoding="utf-8")
    assert ">25 of 40<" in page
    assert "15 samples on the left" in page
    assert "From each of 15 samples to the nearest" in page
    assert "sliced W2" not in page  # of fewer than 20
