"""reconstruct: what it writes is the library's posterior in grey values, of simulated and of real measurements."""

import json

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield import inverse
from scorefield.catalogue import METHODS, OPERATORS
from scorefield.cli._inputs import chosen
from scorefield.cli._options import Wanted
from scorefield.inverse.operators import Downsample

TRAIN = ("train", "--preset", "digits", "--steps", 3, "--set", "network.width=8", "--set", "optim.warmup=1")
HALF = ("--operator", "downsample:factor=2", "--noise-std", 0.05)


@pytest.fixture(scope="module")
def run(invoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = invoke(folder, *TRAIN, "--out", "digits")
    assert done.returncode == 0, done.stderr
    return folder / "digits"


@pytest.fixture
def ran(cli, tmp_path):
    def go(*args, out="a"):
        done = cli("reconstruct", *args, "--out", f"{out}.png")
        assert done.returncode == 0, done.stderr
        return done.stdout, np.load(tmp_path / f"{out}.npz"), json.loads((tmp_path / f"{out}.json").read_text())

    return go


def test_samples_are_the_librarys_in_grey_values(run, ran, tmp_path):
    stdout, arrays, summary = ran(run, *HALF, "--index", "0,4", "--samples", 5, "--nfe", 4, "--method", "ddnm")
    assert "2 held-out data of digits" in stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    given = chosen(Wanted(run, index="0,4"), labelled=False)
    truth = given.raw.double() / 16
    np.testing.assert_allclose(arrays["truth"], truth)
    operator = Downsample(2, (1, 8, 8))
    error = (torch.from_numpy(arrays["y"]) - operator(truth)) / 0.05
    assert float(error.square().mean()) == pytest.approx(1, abs=4 * (2 / error.numel()) ** 0.5)
    # in the model's units by hand: grey = (k + 1/2 - 1/2) / 16, and x = scale (k + 1/2) + shift
    assert given.transform is not None
    x = given.transform((16 * torch.from_numpy(arrays["samples"]) + 0.5).float())
    mean = given.transform(16 * truth.float() + 0.5)
    slope = float(given.transform(torch.ones(1)) - given.transform(torch.zeros(1)))
    y = operator(mean.double()) + (torch.from_numpy(arrays["y"]) - operator(truth)) * 16 * slope
    likelihood = inverse.GaussianNoise(operator, y, 0.05 * 16 * slope)
    method = inverse.Guidance(inverse.DDNM)
    expected = inverse.condition(given.denoiser, likelihood, method).sample(5, nfe=4, dtype=torch.float32)
    np.testing.assert_allclose(x, expected.x, atol=1e-3)
    np.testing.assert_allclose(arrays["mean"], arrays["samples"].mean(1))
    assert summary["nfe"] == 4
    assert summary["reduced_chi2"] > 0


def test_a_measurement_of_ones_own_gives_what_its_simulation_gave(run, ran, tmp_path):
    _, first, _ = ran(run, *HALF, "--index", "0-1", "--samples", 3, "--nfe", 4)
    np.savez(tmp_path / "mine.npz", y=first["y"])
    stdout, second, summary = ran(run, *HALF, "--measurement", "mine.npz", "--samples", 3, "--nfe", 4, out="b")
    assert "2 measured" in stdout
    np.testing.assert_array_equal(first["samples"], second["samples"])
    assert "truth" not in second
    assert "psnr" not in summary
    np.save(tmp_path / "one.npy", first["y"][0])
    _, third, _ = ran(run, *HALF, "--measurement", "one.npy", "--samples", 3, "--nfe", 4, out="c")
    np.testing.assert_array_equal(first["samples"][:1], third["samples"])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_name(run, ran, name):
    _, arrays, summary = ran(run, *HALF, "--index", "0", "--samples", 2, "--nfe", 4, "--method", name)
    assert np.isfinite(arrays["samples"]).all()
    assert summary["method"] == name


def test_the_spectral_bridge_is_the_librarys_with_its_spectrum_measured_on_the_last_held_out_data(run, ran):
    _, arrays, _ = ran(run, *HALF, "--index", "0", "--samples", 3, "--nfe", 4, "--method", "spectral-bridge")
    trained = sf.load(run)
    units = inverse.Units.of(trained.transform)
    likelihood = inverse.GaussianNoise(Downsample(2, (1, 8, 8)), torch.from_numpy(arrays["y"]), 0.05)
    source = trained.held_out().source
    rows = torch.arange(len(source) - 64, len(source))
    spectrum = inverse.calibrate_spectrum(
        trained.denoiser,
        trained.to_model(source.batch(rows).x, rows, seed=0),
        generator=torch.Generator().manual_seed(0),
    )
    method = inverse.SpectralBridge(spectrum)
    x = inverse.condition(trained.denoiser, units.in_model(likelihood), method).sample(3, nfe=4, dtype=torch.float32).x
    np.testing.assert_allclose(arrays["samples"], units.of_model(x), atol=1e-3)


def test_the_help_names_every_operator_and_every_method(cli):
    said = "".join(cli("reconstruct", "--help").stdout.split())
    for name in (*OPERATORS, *METHODS):
        assert name in said.replace("│", "")


@pytest.mark.parametrize("name", [None, *METHODS])
def test_no_class_is_shown(run, cli, tmp_path, name):
    """Whatever the method and whether it can, phase retrieval in two evaluations makes all say what is wrong."""
    done = cli(
        "reconstruct", run, "--operator", "phase", "--noise-std", 0.05, "--index", 0, "--samples", 2, "--nfe", 2,
        "--out", "a.png", *(() if name is None else ("--method", name)),
    )  # fmt: skip
    shown = done.stdout + done.stderr
    classes = {str(place).partition(":")[2].partition(".")[0] for place in METHODS.values()} - {"DAPS"}
    assert not [word for word in (*classes, "GaussianNoise", "Guidance") if word in shown]
    if done.returncode:
        assert (
            "takes linear operators with Gaussian noise only; laplace-bridge takes any" in done.stderr or name == "daps"
        )
    if name is None:
        assert json.loads((tmp_path / "a.json").read_text())["method"] == "laplace-bridge, the default"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--operator", "radn", "--noise-std", 1), "radn"),
        (("--operator", "radon:view=3", "--noise-std", 1), "view"),
        (("--operator", "blur", "--noise-std", 0), "--noise-std must be positive and finite; got 0"),
        ((*HALF, "--method", "bridg"), "Did you mean 'bridge'?"),
        ((*HALF, "--measurement", "y.npy"), "--measurement: no file at y.npy"),
        ((*HALF, "--measurement", "y.npy", "--index", "3"), "--measurement takes the place of --data and --index"),
    ],
)
def test_mistakes_are_one_line(run, refused, arguments, message):
    assert message in refused("reconstruct", run, *arguments, "--out", "a.png")


def test_measurements_of_another_shape_or_kind_are_refused(run, refused, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((2, 1, 5, 4)))
    assert "of shape (1, 4, 4)" in refused("reconstruct", run, *HALF, "--measurement", "wide.npy")
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "is no .npy or .npz of numbers" in refused("reconstruct", run, *HALF, "--measurement", "pickle.npy")
    np.savez(tmp_path / "other.npz", x=np.zeros((1, 4, 4)))
    assert "has no array `y`" in refused("reconstruct", run, *HALF, "--measurement", "other.npz")
