"""quickstart, train and sample, end to end on a few steps: every file is there, whole, and says what it should."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scorefield as sf
from scorefield.storage import models

PICTURES = {"samples.png", "forward.png", "reverse.png", "training.png", "levels.png", "neighbours.png"}
TRAINED = {".lock", "recipe.toml", "checkpoints", "metrics.jsonl", "training.png", "levels.png", "training-rows.npy"}
FILES = PICTURES | TRAINED | {"report.html", "metrics.json", "samples.npz"}


def model(folder: Path) -> Path:
    """The averaged weights of a run's last models."""
    return sorted((folder / "checkpoints").iterdir())[-1] / "ema.safetensors"


@pytest.fixture(scope="module")
def quickstart(invoke, tmp_path_factory):
    """One rehearsal of the quickstart: (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp("quickstart")
    done = invoke(folder, "quickstart", "--fast", "--seed", 3)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "quickstart", done


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if value and name in ("src", "href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without <{tag}>"
        assert self.open.pop() == tag


def test_every_file_is_written(quickstart):
    folder, done = quickstart
    assert {p.name for p in folder.iterdir()} == FILES
    assert str(Path("runs/quickstart/report.html")) in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_pictures_are_not_blank(quickstart, name):
    picture = np.asarray(Image.open(quickstart[0] / name).convert("RGB"), dtype=float)
    assert picture.std() > 10
    assert min(picture.shape[:2]) > 150


def test_the_report_is_whole_and_needs_nothing_else(quickstart):
    folder, _ = quickstart
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    embedded = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources]
    assert embedded == [
        (folder / f"{name}.png").read_bytes() for name in ("samples", "forward", "reverse", "training", "neighbours")
    ]
    for png in embedded:
        Image.open(io.BytesIO(png)).verify()
    assert not re.search(r"https?://|@import|url\(|<script", text)  # opens without a network, runs nothing
    measured = json.loads((folder / "metrics.json").read_text())
    assert f"{measured['bits_per_dim']:.3f}" in text
    assert f"{measured['sliced_wasserstein']:.4f}" in text


def test_the_table_and_the_metrics_agree(quickstart):
    folder, done = quickstart
    measured = json.loads((folder / "metrics.json").read_text())
    for key, shown in (("sliced_wasserstein", ".4f"), ("sliced_wasserstein_floor", ".4f"), ("bits_per_dim", ".3f")):
        assert format(measured[key], shown) in done.stdout
    assert measured["seed"] == 3
    assert measured["bits_per_dim_stderr"] > 0
    assert 0 < measured["sliced_wasserstein_floor"] < measured["sliced_wasserstein"]  # 20 steps: far from the data
    assert set(measured["seconds"]) == {"training", "sampling", "likelihood", "measuring", "pictures", "total"}


def test_the_training_log_has_a_line_a_step(quickstart):
    lines = [json.loads(line) for line in (quickstart[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert set(lines[0]) == {"step", "loss", "lr", "gradient_norm", "seconds"}


def test_samples_npz_holds_plain_numbers(quickstart):
    with np.load(quickstart[0] / "samples.npz", allow_pickle=False) as arrays:
        assert arrays["grey"].shape == (40, 1, 8, 8)
        assert arrays["grey"].max() <= 16
        assert arrays["label"].shape == (40,)


def test_a_second_run_goes_beside_the_first(quickstart, cli):
    folder, _ = quickstart
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    done = cli("train", "--steps", "1", "--out", folder)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "euler", "heun", "euler-maruyama", "predictor-corrector"])
def test_sample_writes_a_grid_and_numbers(quickstart, cli, tmp_path, solver):
    done = cli("sample", quickstart[0], "--n", "6", "--solver", solver, "--nfe", "6", "--label", "3", "--out", "x.png")
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(tmp_path / "x.png").convert("RGB"), dtype=float).std() > 10
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays["samples"].shape == (6, 1, 8, 8)
        assert arrays["label"].tolist() == [3] * 6


def test_sample_says_what_its_steps_do_to_gaussian_data(quickstart, cli):
    """DDPM in 6 evaluations is far too narrow, by the amount the library computes; a step without bias says nothing."""
    said = {}
    for solver in ("ddpm", "stochastic-adams"):
        done = cli("sample", quickstart[0], "--n", "1", "--solver", solver, "--nfe", "6", "--out", f"{solver}.png")
        assert done.returncode == 0, done.stderr
        said[solver] = done.stdout
    denoiser = models.load(model(quickstart[0])).denoiser
    _, times = sf.DDPM().within(denoiser, 6)
    bias = sf.discretisation_bias(sf.DDPM(), denoiser.schedule, times, data_std=denoiser.data_std)
    assert bias.std < 0.9
    assert f"{1 - bias.std:.1%} too narrow" in said["ddpm"]
    assert "too" not in said["stochastic-adams"]


def test_sample_i_depends_on_the_seed_and_i_alone(quickstart, cli, tmp_path):
    for n, name in ((2, "few.png"), (5, "more.png")):
        assert cli("sample", quickstart[0], "--n", n, "--nfe", "4", "--seed", "1", "--out", name).returncode == 0
    few, more = (np.load(tmp_path / name)["samples"] for name in ("few.npz", "more.npz"))
    np.testing.assert_allclose(few, more[:2], atol=1e-4)


def test_sample_goes_into_the_run_and_does_not_overwrite(quickstart, cli, tmp_path):
    shutil.copytree(quickstart[0], tmp_path / "run")
    command = ("sample", "run", "--n", "2", "--nfe", "10", "--solver", "annealed-langevin")
    assert cli(*command).returncode == 0
    name = "samples-annealed-langevin-nfe10-seed0.png"
    assert (tmp_path / "run" / name).exists()
    again = cli(*command)
    assert again.returncode == 2
    assert again.stderr == f"error: run/{name} exists: choose another --out, or replace it with --overwrite\n"
    assert cli(*command, "--overwrite").returncode == 0


def test_train_then_sample(cli, tmp_path):
    done = cli("train", "--preset", "digits", "--steps", "2", "--out", "mine")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "mine").iterdir()} == TRAINED | {"report.html", "report.json"}
    assert "scorefield sample mine" in done.stdout
    assert cli("sample", "mine", "--n", "1", "--nfe", "2").returncode == 0


def test_the_same_seed_trains_the_same_model(cli, tmp_path):
    for out, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert cli("train", "--steps", "2", "--seed", seed, "--out", out).returncode == 0
    a, b, c = (model(tmp_path / out).read_bytes() for out in "abc")
    assert a == b
    assert a != c


class TestBadInput:
    def test_unknown_preset_names_the_nearest(self, refused):
        assert refused("train", "--preset", "digit") == "error: unknown preset 'digit'. Did you mean 'digits'?\n"

    def test_unknown_solver_names_the_nearest(self, refused, tmp_path):
        line = refused("sample", "run", "--solver", "dimm")
        assert line == "error: unknown solver 'dimm'. Did you mean 'ddim'?\n"

    def test_missing_run(self, refused):
        assert refused("sample", "nowhere") == "error: no run at nowhere\n"

    def test_a_folder_that_is_no_run(self, refused, tmp_path):
        (tmp_path / "empty").mkdir()
        assert refused("sample", "empty", "--out", "x.png") == "error: no checkpoint in empty/checkpoints\n"
        assert not (tmp_path / "x.png").exists()

    @pytest.mark.parametrize("harm", ["truncated", "noise", "empty"])
    def test_damaged_file(self, quickstart, refused, tmp_path, harm):
        whole = model(quickstart[0]).read_bytes()
        harmed = {"truncated": whole[: len(whole) // 2], "noise": bytes(range(256)) * 16, "empty": b""}[harm]
        (tmp_path / "model.safetensors").write_bytes(harmed)
        line = refused("sample", "model.safetensors")
        assert line.startswith("error: model.safetensors is damaged or not a scorefield checkpoint")

    def test_label_out_of_range(self, quickstart, refused):
        line = refused("sample", quickstart[0], "--label", "10", "--out", "x.png")
        assert line == "error: --label must lie in 0..9; got 10\n"

    def test_sample_output_must_be_a_png(self, quickstart, refused):
        line = "error: --out must end in .png, or for a table in .csv, .tsv, .parquet; got x.jpg\n"
        assert refused("sample", quickstart[0], "--out", "x.jpg") == line

    def test_sample_output_under_a_file(self, quickstart, refused, tmp_path):
        (tmp_path / "file").write_text("")
        assert "cannot write to file/deep" in refused("sample", quickstart[0], "--out", "file/deep/x.png")

    def test_too_few_evaluations_for_the_solver(self, quickstart, refused):
        line = refused("sample", quickstart[0], "--solver", "predictor-corrector", "--nfe", "1", "--out", "x.png")
        assert "nfe must be at least 2" in line

    def test_device_that_is_not_there(self, refused, tmp_path):
        assert refused("train", "--device", "abacus", "--out", "x").startswith("error: device 'abacus' can't be used")

    def test_zero_steps(self, refused):
        assert "--steps" in refused("train", "--steps", "0")
