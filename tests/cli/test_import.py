"""`scorefield import`: a run of a folder of diffusers, what was understood of it, and measured where data are given."""

import numpy as np
import pytest
import torch

import scorefield as sf

diffusers = pytest.importorskip("diffusers", reason="what is imported; pip install diffusers")
pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pipe")
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=2, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = diffusers.DDPMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    diffusers.DDPMPipeline(model, made).save_pretrained(folder)
    np.save(folder / "data.npy", np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8), dtype=np.uint8))
    return folder


def test_a_folder_becomes_a_run(cli, refused, folder, tmp_path):
    done = cli("import", folder, "--out", "run", "--data", folder / "data.npy", "--layout", "as-is")
    assert done.returncode == 0, done.stderr
    assert "predicts V(), is told k, of which the first 1 channels are taken" in done.stdout
    assert "terminal SNR 0 (zero)" in done.stdout
    assert "denoising loss at sigma / alpha" in done.stdout
    run = sf.load(tmp_path / "run")
    assert run.event_shape == (1, 8, 8)
    drawn = run.sample(2, nfe=2)
    assert drawn.raw.dtype == torch.int64
    assert torch.isfinite(drawn.x).all()
    assert "not empty" in refused("import", folder, "--out", "run")


def test_bytes_are_those_of_minus_one_to_one(cli, folder, tmp_path):
    assert cli("import", folder, "--out", "run").returncode == 0
    transform = sf.load(tmp_path / "run").transform
    assert isinstance(transform, sf.data.Scale)
    grey = torch.arange(256)
    x = grey / 127.5 - 1  # as diffusers has it
    assert torch.equal(transform.quantize(x), grey)
    torch.testing.assert_close(transform.dequantize(grey), x, atol=1e-6, rtol=0)


def test_a_consistency_model_becomes_a_run_that_is_drawn_from_in_one_jump_or_two(cli, tmp_path):
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = diffusers.CMStochasticIterativeScheduler(clip_denoised=False)
    diffusers.ConsistencyModelPipeline(model, made).save_pretrained(tmp_path / "pipe")
    np.save(tmp_path / "data.npy", np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8), dtype=np.uint8))
    done = cli("import", "pipe", "--out", "run", "--data", "data.npy", "--layout", "as-is")
    assert done.returncode == 0, done.stderr
    assert "not measured: a consistency model says where a path ends" in done.stdout + done.stderr
    run = sf.load(tmp_path / "run")
    assert isinstance(run.model, sf.flowmaps.ConsistencyMap)
    kept = {name.removeprefix("model."): v for name, v in run.model.net.state_dict().items()}
    torch.testing.assert_close(kept, model.state_dict())
    one, two = (run.sample(2, nfe=nfe).x for nfe in (1, 2))
    assert torch.isfinite(torch.cat([one, two])).all()
    assert not torch.equal(one, two)
    done = cli("sample", "run", "--n", 4, "--nfe", 2, "--out", "a.png")
    assert done.returncode == 0, done.stderr
    with pytest.raises((TypeError, ValueError), match="ConsistencyMap"):
        sf.log_prob(run.model, one)


def test_what_is_no_folder_is_refused(refused):
    assert "no folder at nowhere" in refused("import", "nowhere", "--out", "run")


def test_of_a_file_of_weights_it_is_said_what_it_is(cli, tmp_path):
    weights = {"inner_model.a.weight": torch.zeros(2, 2)}
    torch.save(weights, tmp_path / "m.pt")
    done = cli("import", "m.pt", "--out", "run")
    assert done.returncode == 2
    assert "k-diffusion: 1 tensors, predicts EDMPreconditioning" in done.stdout
    assert "a run needs the class they are of" in done.stderr
    assert not (tmp_path / "run").exists()
