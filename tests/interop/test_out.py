"""What leaves the library does elsewhere what it does here: programs, a hub's folder, a pipeline."""

import json

import pytest
import safetensors.torch
import torch

import scorefield as sf
from scorefield.interop import hub, programs

EVENT = (1, 8, 8)
SIZES = [(1, EVENT), (3, EVENT), (7, EVENT), (2, (1, 12, 10))]
METRICS = [
    {"metric": "mmd", "value": 0.02, "low": 0.01, "high": 0.03, "floor": 0.005},
    {"metric": "coverage", "value": 1},
]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(net):
    torch.manual_seed(0)
    for p in net.parameters():  # the last layers start at zero
        p.data += 0.05 * torch.randn_like(p)
    return net


@pytest.fixture(scope="module")
def denoiser():
    net = shaken(sf.networks.UNet(1, width=8, multipliers=(1, 2), num_classes=3))
    return sf.NetworkDenoiser(net, sf.Discrete.linear(50), sf.EDMPreconditioning()).eval()


@pytest.fixture(scope="module")
def written(denoiser, tmp_path_factory):
    return programs.to_torch_export(denoiser, tmp_path_factory.mktemp("out") / "model.pt2", EVENT)


def told(n, event):
    return normal(n, *event), torch.linspace(0.1, 0.9, n), torch.arange(n) % 3, torch.arange(n) % 2 == 1


@torch.no_grad()
def test_an_exported_program_is_the_denoiser_at_every_size(denoiser, written):
    program = torch.export.load(written).module()
    assert programs.inputs(denoiser) == ("x", "t", "label", "null")
    for n, event in SIZES:
        x, t, label, null = told(n, event)
        expected = denoiser(x, t, label=label, null=null)
        torch.testing.assert_close(program(x, t, label, null), expected, atol=1e-5, rtol=1e-4)
    assert (program(x, t, label, null) - program(x, t, (label + 1) % 3, null)).abs().max() > 1e-4


@torch.no_grad()
def test_onnx_runtime_computes_the_denoiser_at_every_size(denoiser, tmp_path):
    pytest.importorskip("onnxscript", reason="pip install scorefield[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="pip install scorefield[onnx]")
    path = programs.to_onnx(denoiser, tmp_path / "model.onnx", EVENT)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n, event in SIZES:
        x, t, label, null = given = told(n, event)
        named = dict(zip(programs.inputs(denoiser), given, strict=True))
        got = session.run(["x0"], {name: value.numpy() for name, value in named.items()})[0]
        expected = denoiser(x, t, label=label, null=null)
        torch.testing.assert_close(torch.from_numpy(got), expected, atol=1e-4, rtol=1e-4)


def test_a_model_that_looks_at_its_data_is_refused_in_one_line(tmp_path):
    class Looks(torch.nn.Module):
        def forward(self, x, level):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(ValueError, match="NetworkDenoiser can't be traced: ") as caught:
        programs.to_torch_export(sf.NetworkDenoiser(Looks(), sf.VP(), sf.V()), tmp_path / "m.pt2", (2,))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder(denoiser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "mine"
    return hub.save(folder, denoiser, {"event_shape": EVENT}, metrics=METRICS, dataset="digits")


@torch.no_grad()
def test_a_hub_folder_is_a_checkpoint_with_a_card(denoiser, folder):
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert json.loads((folder / "config.json").read_text())["net"]["type"] == "UNet"
    x, t, label, _ = told(3, EVENT)
    for found in (hub.load(folder).denoiser, sf.load(folder / "model.safetensors").denoiser):
        assert torch.equal(found(x, t, label=label), denoiser(x, t, label=label))


def test_its_card_is_what_the_hub_reads(folder):
    card = pytest.importorskip("huggingface_hub").ModelCard.load(folder / "README.md")
    assert card.data.library_name == "scorefield"
    mmd, coverage = card.data.eval_results
    assert (mmd.metric_type, mmd.metric_value, mmd.dataset_name) == ("mmd", 0.02, "digits")
    assert mmd.metric_args == {"interval": [0.01, 0.03], "floor": 0.005}
    assert coverage.metric_args == {"interval": [None, None], "floor": None}
    with pytest.raises(ValueError, match="a metric needs"):
        hub.model_card("m", sf.NetworkDenoiser(sf.networks.MLP(2), sf.VP(), sf.V()), {}, [{"metric": "fid"}], "d")


@torch.no_grad()
def test_the_hubs_mixin_saves_and_reads_a_local_folder(denoiser, tmp_path):
    pytest.importorskip("huggingface_hub")
    from scorefield.interop.published import Published

    Published(denoiser, {"event_shape": EVENT}, metrics=METRICS).save_pretrained(tmp_path / "m")
    found = Published.from_pretrained(tmp_path / "m")
    x, t, label, _ = told(3, EVENT)
    assert torch.equal(found.denoiser(x, t, label=label), denoiser(x, t, label=label))
    assert found.meta == {"event_shape": list(EVENT)}
    assert safetensors.torch.load_file(tmp_path / "m" / "model.safetensors")


@pytest.mark.peer
@pytest.mark.parametrize("schedule", [sf.VP(), sf.Cosine(), sf.EDM(), sf.Rectified()], ids=lambda s: type(s).__name__)
@torch.no_grad()
def test_a_pipeline_of_diffusers_draws_what_ddim_draws_here(schedule, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    from scorefield.interop import pipelines

    net = shaken(sf.networks.UNet(1, width=8, multipliers=(1,)))
    denoiser = sf.NetworkDenoiser(net, schedule, sf.EDMPreconditioning()).eval()
    pipelines.save(denoiser, tmp_path, EVENT)
    pipe = diffusers.DDIMPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    steps = 5
    theirs = (
        2 * pipe(2, generator=torch.Generator().manual_seed(3), num_inference_steps=steps, output_type="np").images - 1
    )
    # their chain's own noise ratios, at our times; their start is that of unit variance
    k = torch.arange(1000, 0, -1000 // steps) - 1
    abar = pipe.scheduler.alphas_cumprod.double()[k]
    times = torch.cat([schedule.time_of_log_snr(torch.log(abar / (1 - abar)) / 2), torch.zeros(1, dtype=torch.float64)])
    x = torch.randn(2, *EVENT, generator=torch.Generator().manual_seed(3))
    x = x * (schedule.alpha(times[0]) / abar[0].sqrt()).float()
    ours = sf.sample(denoiser, x, solver=sf.DDIM(), times=times).x.clamp(-1, 1)
    torch.testing.assert_close(torch.from_numpy(theirs).permute(0, 3, 1, 2), ours, atol=1e-4, rtol=0)
    assert ours.std() > 0.1
    assert type(diffusers.DDPMPipeline.from_pretrained(tmp_path).unet).__name__ == "ScorefieldUNet"


def test_what_is_no_picture_is_no_pipeline(tmp_path):
    pytest.importorskip("diffusers")
    from scorefield.interop import pipelines

    with pytest.raises(ValueError, match="a pipeline draws pictures"):
        pipelines.save(sf.NetworkDenoiser(sf.networks.MLP(2), sf.VP(), sf.V()), tmp_path, (2,))
