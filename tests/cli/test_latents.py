"""encode, decode, interpolate, edit, inpaint: what they write is what the library computes, and belongs to its run."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import scorefield as sf
from scorefield import data, recipes
from scorefield.cli._inputs import chosen
from scorefield.cli._options import Reading, Wanted, numbers, places
from scorefield.recipes import presets
from scorefield.storage import checkpoints, models

MOONS, DIGITS = ("network.hidden=16",), ("network.width=8",)


def folder_of(where, recipe):
    """A run of `recipe` that has trained for no time: random weights, since those of a new network are zero."""
    made = recipes.build(recipe)
    for i, weight in enumerate(made.denoiser.net.parameters()):
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(i))
    meta = {"recipe": recipe.name, "seed": 0, "event_shape": list(made.source.event_shape)}
    content = models.dumps(made.denoiser, meta, transform=made.transform)
    checkpoints.write(where / "checkpoints", 1, {"ema.safetensors": content}, {})
    (where / "recipe.toml").write_text(recipes.dumps(recipe))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of points, `bare` without a transform, and of pictures with classes, `always` without a null."""
    folder = tmp_path_factory.mktemp("runs")
    for name, recipe, changes in (
        ("moons", presets.two_moons(), MOONS),
        ("bare", presets.two_moons(), (*MOONS, "data.transform=none")),
        ("digits", presets.digits(), DIGITS),
        ("always", presets.digits(), (*DIGITS, "training.condition_dropout=0")),
    ):
        (folder / name).mkdir()
        folder_of(folder / name, recipes.override(recipe, changes))
    return folder


@pytest.fixture
def ran(cli, tmp_path):
    """Runs a command that must succeed, with its results as `a.*`: (stdout, arrays, summary)."""

    def run(*args, out="a"):
        done = cli(*args, "--out", f"{out}.png", "--overwrite")
        assert done.returncode == 0, done.stderr
        return done.stdout, np.load(tmp_path / f"{out}.npz"), json.loads((tmp_path / f"{out}.json").read_text())

    return run


def test_latents_are_the_librarys_and_come_back(runs, ran, tmp_path):
    stdout, arrays, summary = ran("encode", runs / "digits", "--index", "0-3,7", "--nfe", 16)
    assert "5 held-out data of digits" in stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    given = chosen(Wanted(runs / "digits", index="0-3,7"))
    labels = data.digits().test_labels[[0, 1, 2, 3, 7]]
    assert torch.equal(torch.from_numpy(arrays["label"]), labels.long())
    assert torch.equal(torch.from_numpy(arrays["raw"]), data.digits().test[[0, 1, 2, 3, 7]])
    expected = sf.encode(given.denoiser, given.x, nfe=16, cond={"label": labels.long()}, round_trip=True)
    np.testing.assert_allclose(arrays["z"], expected.z, atol=1e-5)
    assert expected.error is not None
    np.testing.assert_allclose(arrays["error"], expected.error, rtol=1e-2, atol=1e-7)
    assert summary["round_trip_rms"] == pytest.approx(np.sqrt((arrays["error"] ** 2).mean()))
    assert summary["round_trip_worst"] == arrays["error"].max()

    stdout, decoded, again = ran("decode", runs / "digits", "a.npz", out="b")
    assert "others" not in stdout
    assert (again["nfe"], again["same_weights"]) == (16, True)
    assert again["round_trip_rms"] == pytest.approx(summary["round_trip_rms"], rel=1e-2)
    assert np.array_equal(decoded["label"], arrays["label"])
    assert np.array_equal(decoded["raw"], arrays["raw"])  # after rounding: the error is far below a grey value
    _, other, _ = ran("decode", runs / "digits", "a.npz", "--label", 5, out="c")
    assert other["label"].tolist() == [5] * 5
    assert abs(other["x"] - decoded["x"]).max() > 1e-3


def test_a_datums_latent_does_not_depend_on_what_else_is_chosen(runs, ran):
    """Dequantisation noise included; 1e-5 is float32 in another batch."""
    _, many, _ = ran("encode", runs / "digits", "--nfe", 8)
    _, one, _ = ran("encode", runs / "digits", "--nfe", 8, "--index", 7, out="b")
    assert np.array_equal(many["x"][7], one["x"][0])
    np.testing.assert_allclose(one["z"][0], many["z"][7], atol=1e-5)
    _, other, _ = ran("encode", runs / "digits", "--nfe", 8, "--index", 7, "--seed", 1, out="b")
    assert not np.array_equal(other["x"], one["x"])
    assert np.array_equal(other["raw"], one["raw"])


def test_points_have_latents_too(runs, ran, tmp_path):
    stdout, arrays, summary = ran("encode", runs / "moons", "--nfe", 12)
    assert "256 held-out data of two-moons" in stdout
    assert summary["n"] == len(arrays["z"]) == 256
    assert "integers kept" not in stdout
    assert (tmp_path / "a.png").exists()
    _, decoded, _ = ran("decode", runs / "moons", "a.npz", out="b")
    np.testing.assert_allclose(decoded["x"], arrays["x"], atol=20 * summary["round_trip_worst"] + 1e-6)


def test_a_run_without_a_transform_takes_numbers_as_they_are(runs, ran, mine, tmp_path):
    _, arrays, _ = ran("encode", runs / "bare", "--nfe", 4, "--index", "0-3")
    assert np.array_equal(arrays["x"], arrays["raw"])
    with pytest.raises(ValueError, match=r"the run has no transform of grey values to read .*: give numbers"):
        sf.load(runs / "bare").held_out(str(tmp_path / "folder"))


def test_decoding_standard_normals_needs_no_more_than_z(runs, ran, tmp_path):
    np.savez(tmp_path / "z.npz", z=np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32))
    _, decoded, summary = ran("decode", runs / "moons", "z.npz", "--nfe", 8)
    assert decoded["x"].shape == (3, 2)
    assert "round_trip_rms" not in summary


def test_latents_of_other_weights_are_decoded_and_it_is_said(runs, ran, tmp_path):
    ran("encode", runs / "moons", "--nfe", 4, "--index", "0-3")
    arrays = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "other.npz", **{**arrays, "weights": arrays["weights"] ^ 1})
    stdout, _, summary = ran("decode", runs / "moons", "other.npz", out="b")
    assert "than those that made other.npz" in stdout
    assert summary["same_weights"] is False


def test_a_path_is_the_librarys_and_begins_and_ends_at_its_ends(runs, ran, tmp_path):
    command = ("interpolate", runs / "digits", "--index", "3,1", "8-9", "--steps", 5, "--nfe", 12)
    stdout, arrays, summary = ran(*command)
    assert "3 to 8" in stdout
    given = chosen(Wanted(runs / "digits", index="3,1,8,9", no_label=True))
    expected = sf.interpolate(given.denoiser, given.x[:2], given.x[2:], 5, nfe=12)
    np.testing.assert_allclose(arrays["x"], expected, atol=1e-5)
    error = np.sqrt(((arrays["x"][0] - given.x[:2].numpy()) ** 2).reshape(2, -1).mean(1))
    assert (error <= np.array(summary["error_at_ends"]) * 1.001).all()
    assert max(summary["error_at_ends"]) < 0.02
    steps = np.sqrt(((arrays["x"][1:] - arrays["x"][:-1]) ** 2).reshape(4, 2, -1).mean(2))
    np.testing.assert_allclose(summary["longest_step"], steps.max(0), rtol=1e-4)
    assert (tmp_path / "a.png").exists()
    _, held, _ = ran(*command, "--label", 3, "--label", 4, out="b")
    cond = {"label": torch.tensor([3, 4])}
    expected = sf.interpolate(given.denoiser, given.x[:2], given.x[2:], 5, nfe=12, cond=cond)
    np.testing.assert_allclose(held["x"], expected, atol=1e-5)


def test_a_move_is_the_librarys(runs, ran, tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    np.save(tmp_path / "with.npy", x[:4])
    np.save(tmp_path / "without.npy", x[4:])
    files = ("--with", "with.npy", "--without", "without.npy")
    stdout, arrays, summary = ran("move", runs / "moons", *files, "--index", "0-2", "--amount", "0,0.5", "--nfe", 12)
    given = chosen(Wanted(runs / "moons", index="0-2"))
    assert given.transform is not None
    sets = (given.transform(torch.from_numpy(part)) for part in (x[:4], x[4:]))
    direction = sf.attribute_direction(given.denoiser, *sets, nfe=12)
    np.testing.assert_allclose(arrays["direction"], direction, atol=1e-5)
    np.testing.assert_allclose(arrays["x"][1], sf.move(given.denoiser, given.x, direction, 0.5, nfe=12), atol=1e-4)
    assert summary["distances"][0] < 0.01 < summary["distances"][1]
    assert summary["with"] == "4 data of with.npy"
    assert f"{summary['direction_rms'] / 2:.3f}" in stdout


def test_edits_go_from_what_is_given_to_a_sample(runs, ran, invoke, tmp_path):
    stdout, arrays, summary = ran("edit", runs / "digits", "--strength", "0,0.3,1", "--index", "0-3", "--nfe", 6)
    assert "0.8910" in stdout  # cos(0.3 pi / 2)
    assert np.array_equal(arrays["edited"][0], arrays["x"])
    assert np.array_equal(arrays["edited_raw"][0], arrays["raw"])
    label = [flag for k in arrays["label"] for flag in ("--label", k)]
    sample = ("sample", runs / "digits", "--n", 4, "--nfe", 6, "--no-tuned", *label, "--out", "s.png")
    assert invoke(tmp_path, *sample).returncode == 0
    np.testing.assert_allclose(arrays["edited"][2], np.load(tmp_path / "s.npz")["samples"], atol=1e-5)
    distance, correlation = ([r[key] for r in summary["reached"]] for key in ("distance", "correlation"))
    assert distance[0] == 0 < distance[1] < distance[2]
    assert correlation[0] == pytest.approx(1)
    assert correlation[1] > correlation[2]
    assert [r["nfe"] for r in summary["reached"]] == [0, 6, 6]


def test_a_stochastic_solver_is_held_against_the_square(runs, ran):
    stdout, _, _ = ran("edit", runs / "moons", "--strength", 0.5, "--solver", "stochastic-adams", "--nfe", 8)
    assert "0.5000" in stdout


def test_what_is_kept_is_kept_to_the_bit(runs, ran):
    command = ("inpaint", runs / "digits", "--index", "0-1", "--nfe", 10, "--samples", 3, "--mask")
    _, arrays, summary = ran(*command, "right")
    hidden = arrays["hidden"][0]
    assert hidden[:, 4:].all()
    assert not hidden[:, :4].any()
    kept, new = (arrays["inpainted"][:, :, 0][..., mask] for mask in (~hidden, hidden))
    assert (kept == arrays["x"][:, 0][:, ~hidden]).all()
    assert (arrays["inpainted_raw"][:, :, 0][..., ~hidden] == arrays["raw"][:, 0][:, ~hidden]).all()
    assert abs(new[0] - new[1]).min() > 0  # attempts differ everywhere
    assert summary["hidden"] == 0.5
    off = (new - arrays["x"][:, 0][:, hidden]).astype(float)
    sd = chosen(Wanted(runs / "digits")).denoiser.data_std
    assert summary["distance"] == pytest.approx(np.sqrt((off**2).mean()) / sd, rel=1e-5)
    assert summary["spread"] == pytest.approx(np.sqrt(new.astype(float).var(0, ddof=1).mean()) / sd, rel=1e-5)


@pytest.mark.parametrize(
    ("mask", "where"),
    [
        ("left", np.s_[:, :4]), ("top", np.s_[:4]), ("bottom", np.s_[4:]), ("centre", np.s_[2:6, 2:6]),
        ("mask.png", np.s_[1:3, 5]), ("mask.npy", np.s_[1:3, 5]),
    ],
)  # fmt: skip
def test_masks_say_what_is_made_anew(runs, tmp_path, monkeypatch, mask, where):
    from scorefield.cli._editing import hidden

    monkeypatch.chdir(tmp_path)
    expected = np.zeros((8, 8), bool)
    expected[where] = True
    Image.fromarray(np.uint8(255 * expected)).save("mask.png")
    np.save("mask.npy", expected)
    assert np.array_equal(hidden(mask, (1, 8, 8), Wanted(runs)), expected)


def test_the_second_half_of_a_series_and_a_random_share(runs):
    from scorefield.cli._editing import hidden

    assert hidden("right", (1, 6), Wanted(runs)).tolist() == [False] * 3 + [True] * 3
    new = hidden("random:0.25", (1, 100, 100), Wanted(runs))
    assert float(new.double().mean()) == pytest.approx(0.25, abs=4.5 * 0.0043)  # 4.5 standard errors
    assert torch.equal(new, hidden("random:0.25", (1, 100, 100), Wanted(runs)))


# --- a user's own pictures ---


@pytest.fixture
def mine(tmp_path):
    """Three 8x8 pictures, one of another size, and the same three as numbers."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    (tmp_path / "folder").mkdir()
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / "folder" / f"{i}.png")
    Image.fromarray(np.kron(pixels[0], np.ones((2, 3), np.uint8))).save(tmp_path / "wide.png")
    np.savez(tmp_path / "mine.npz", x=pixels.astype(np.int64) * 17 // 256)
    return pixels


def test_pictures_take_the_runs_grey_values(runs, mine, tmp_path):
    run = runs / "digits"
    folder = chosen(Wanted(run, str(tmp_path / "folder")))
    assert torch.equal(folder.raw, torch.from_numpy(mine.astype(np.int64) * 17 // 256)[:, None])
    assert folder.label is None
    one = chosen(Wanted(run, str(tmp_path / "folder" / "0.png"), label=["4"]))
    assert torch.equal(one.raw, folder.raw[:1])
    assert one.cond["label"].tolist() == [4]
    assert torch.equal(chosen(Wanted(run, str(tmp_path / "mine.npz"))).raw, folder.raw)
    fitted = chosen(Wanted(run, str(tmp_path / "wide.png"), reading=Reading(fit="resize")))
    assert fitted.raw.shape == (1, 1, 8, 8)


def test_what_sample_wrote_is_read_again(runs, invoke, tmp_path):
    command = ("sample", runs / "digits", "--n", 2, "--nfe", 4, "--out", "s.png")
    assert invoke(tmp_path, *command).returncode == 0
    given = chosen(Wanted(runs / "digits", str(tmp_path / "s.npz")))
    assert np.array_equal(given.raw, np.load(tmp_path / "s.npz")["raw"])


def test_model_units_are_what_the_model_was_trained_to_see(runs):
    given = chosen(Wanted(runs / "digits"))
    assert isinstance(given.transform, data.Scale)
    low = given.transform(given.raw.float())
    step = given.transform.scale
    assert ((given.x >= low - 1e-6) & (given.x <= low + step + 1e-6)).all()
    assert float((given.x - low).std()) == pytest.approx(step / 12**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("encode", "nowhere"), "no run at"),
        (("encode", "digits", "--index", "0-"), "--index must be numbers and ranges such as 7 or 0-9,12; got '0-'"),
        (("encode", "digits", "--index", "898"), "must lie in 0..897, the 898 held-out data of digits; got 898"),
        (("encode", "digits", "--label", 10), "--label must lie in 0..9; got 10"),
        (("encode", "digits", "--label", 1, "--no-label"), "--label and --no-label exclude each other"),
        (("encode", "moons", "--label", 1), "--label was given, but this model was trained without labels"),
        (("encode", "digits", "--data", "none.png"), "error: data: 'none.png' is no path, and no name\n"),
        (("encode", "digits", "--data", "wide.png"), "16 x 24 pixels, the run's pictures have 8 x 8: say how to "
         "make it fit with --fit crop (scale, keep the centre), resize (stretch) or pad"),
        (("encode", "digits", "--data", "wide.png", "--fit", "squeeze"), "--fit must be crop, resize or pad; got "),
        (("encode", "digits", "--data", "mine.npz", "--fit", "pad"), "--fit is for pictures; mine.npz holds numbers"),
        (("encode", "digits", "--fit", "pad"), "--fit says how --data is read: give one"),
        (("encode", "moons", "--data", "wide.png"), "holds pictures; the run's data have events of shape (2,)"),
        (("encode", "moons", "--data", "mine.npz"), "events of shape (8, 8) and continuous values; the run's"),
        (("encode", "digits", "--device", "abacus"), "device 'abacus' can't be used here"),
        (("decode", "digits", "none.npz"), "no latents at none.npz"),
        (("decode", "digits", "wide.png"), "wide.png: expected an .npz of latents"),
        (("decode", "digits", "mine.npz"), "mine.npz: expected floating point latents z (N, ...); got no such array"),
        (("decode", "digits", "points.npz"), "points.npz: latents of shape (2,); the run's data have (1, 8, 8)"),
        (("interpolate", "digits", "--index", "0-3", "5"), "must give as many first ends as last; got 0-3 and 5"),
        (("edit", "digits", "--strength", "0.5,2"), "--strength must be numbers from 0 to 1 with commas between"),
        (("edit", "digits", "--solver", "hern"), "unknown solver 'hern'. Did you mean 'heun'?"),
        (("inpaint", "digits", "--mask", "up"), "'up' is no file, and none of left, right, top, bottom, centre"),
        (("inpaint", "digits", "--mask", "random:2"), "--mask random:P needs a share P between 0 and 1"),
        (("inpaint", "digits", "--mask", "wide.png"), "wide.png has shape (1, 1, 16, 24); the run's data need (8, 8)"),
        (("inpaint", "digits", "--mask", "right", "--nfe", 3), "nfe at least resamples; got 5, 5 and 3"),
    ],
    ids=lambda v: " ".join(map(str, v)) if isinstance(v, tuple) else "",
)  # fmt: skip
def test_bad_input_gets_one_line(runs, mine, cli, tmp_path, command, line):
    np.savez(tmp_path / "points.npz", z=np.zeros((4, 2), np.float32))
    name, run, *rest = command
    done = cli(name, runs / run, *rest, "--out", "x.png")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert line in done.stderr
    assert not (tmp_path / "x.npz").exists()


def test_results_go_into_the_run_and_are_not_overwritten(runs, cli):
    command = ("edit", runs / "moons", "--index", 0, "--strength", 0.5, "--nfe", 2)
    assert cli(*command).returncode == 0
    assert (runs / "moons" / "edit-seed0.json").exists()
    assert "edit-seed0.png exists: choose another --out, or replace it with --overwrite" in cli(*command).stderr
    (runs / "moons" / "edit-seed0.png").unlink()
    assert "edit-seed0.npz exists" in cli(*command).stderr
    assert cli(*command, "--overwrite").returncode == 0


def test_a_run_that_never_went_without_a_class_says_so(runs, capsys):
    from scorefield.cli._inputs import label_of, model

    wanted = Wanted(runs / "always", no_label=True)
    run = model(wanted)
    assert label_of(wanted, run, 2, torch.tensor([1, 2])) is None
    assert "never learned to do without a class (condition_dropout 0): give --label" in capsys.readouterr().err
    label = label_of(Wanted(runs / "always"), run, 2, torch.tensor([1, 2]))
    assert label is not None
    assert label.tolist() == [1, 2]
    assert capsys.readouterr().err == ""


def test_places_and_numbers():
    assert places("3,0-2, 7") == [3, 0, 1, 2, 7]
    assert numbers("--x", ["0.5,1", "0"], 0, 1) == [0.5, 1.0, 0.0]
    for text in ("", "a", "-1", "3-1", "0-", "1,,2", "0-2-4", "1.5"):
        with pytest.raises(ValueError, match="--index must be"):
            places(text)
    for text in ("", "a", "0.5,", "nan", "1.1"):
        with pytest.raises(ValueError, match="--x must be numbers from 0 to 1"):
            numbers("--x", [text], 0, 1)
