"""Files of weights as others write them: made here of random ones, read back as their networks mean them."""

import math
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

import scorefield as sf
from scorefield.interop import states


class Net(nn.Module):
    """Stands for a foreign network: named as `names` says, it answers with its level and its first parameter."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x, level):
        return x * 0 + level.reshape(-1, 1, 1, 1) + next(self.parameters()).mean()


def net(value=None):
    made = Net(first=nn.Conv2d(1, 2, 1), second=nn.Linear(2, 2))
    if value is not None:
        for p in made.parameters():
            nn.init.constant_(p, value)
    return made


def put(path, content):
    torch.save(content, path)
    return path


BETAS = torch.linspace(1e-4, 0.02, 50)
ABAR = torch.cumprod(1 - BETAS, 0)
SNR = ABAR / (1 - ABAR)
WEIGHTS = {
    "eps": (torch.ones(50), sf.Eps()), "x0": (SNR, sf.X0()), "v": (SNR / (SNR + 1), sf.V()),
    "eps, min-SNR": (SNR.clamp(max=5) / SNR, sf.Eps()), "v, min-SNR": (SNR.clamp(max=5) / (SNR + 1), sf.V()),
}  # fmt: skip


@pytest.mark.parametrize("case", WEIGHTS)
def test_denoising_diffusion_pytorch_its_objective_is_seen_by_its_loss_weights(case, tmp_path):
    weight, target = WEIGHTS[case]
    own = {"betas": BETAS, "alphas_cumprod": ABAR, "loss_weight": weight}
    plain = {**{f"model.{k}": v for k, v in net(1.0).state_dict().items()}, **own}
    mean = {
        f"ema_model.{k}": v for k, v in {**plain, **{f"model.{k}": v for k, v in net(2.0).state_dict().items()}}.items()
    }
    path = put(tmp_path / "model-1.pt", {"step": 3, "model": plain, "ema": {**mean, "initted": torch.tensor(True)}})
    found = states.read(path)
    assert (found.convention, found.parameterization, found.level) == ("denoising-diffusion-pytorch", target, "k")
    x = torch.zeros(1, 1, 2, 2)
    assert float(found.denoiser(net()).output(x, 0.5).mean()) == pytest.approx(24 + 2)  # k = 50 / 2 - 1
    assert float(states.read(path, averaged=False).denoiser(net()).output(x, 0.5).mean()) == pytest.approx(24 + 1)
    torch.testing.assert_close(found.schedule.alpha(torch.tensor([1.0], dtype=torch.float64)) ** 2, ABAR[-1:].double())


def test_score_sdes_average_is_a_list_and_ve_is_told_sigma(tmp_path):
    model = {f"module.{k}": v for k, v in net(1.0).state_dict().items()}
    shadow = [torch.full_like(p, 3.0) for p in net().parameters()]
    content = {
        "step": 1,
        "model": {**model, "module.sigmas": torch.logspace(-2, 2, 9)},
        "ema": {"shadow_params": shadow},
    }
    with pytest.raises(ValueError, match="of score_sde, whose files do not say which"):  # VP's have sigmas too
        states.read(put(tmp_path / "c.pth", content))
    found = states.read(tmp_path / "c.pth", convention="score_sde VE")
    assert (found.convention, found.parameterization, found.level) == ("score_sde VE", sf.Score(), "sigma")

    class Buffered(Net):
        def __init__(self):
            super().__init__(first=nn.Conv2d(1, 2, 1), second=nn.Linear(2, 2))
            self.register_buffer("sigmas", torch.zeros(9))

    out = found.denoiser(Buffered()).output(torch.zeros(1, 1, 2, 2), 0.5)
    assert float(out.mean()) == pytest.approx(1.0 + 3.0, rel=1e-5)  # sigma(1/2) = sqrt(0.01 100)
    vp = states.read(put(tmp_path / "v.pth", {**content, "model": model}), convention="score_sde VP")
    assert (vp.parameterization, vp.level, vp.schedule) == (sf.Eps(), "999t", sf.VP())


def test_guided_diffusion_splits_its_variance_off(tmp_path):
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 1))])
            self.out = nn.Sequential(nn.GroupNorm(1, 4), nn.SiLU(), nn.Conv2d(4, 6, 1))
            self.label_emb = nn.Embedding(10, 4)

        def forward(self, x, level):
            return self.out(self.input_blocks[0](x))

    torch.manual_seed(0)
    model = UNet()
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    found = states.read(path)
    assert any("channels=3" in note for note in found.notes)
    assert any("10 classes" in note for note in found.notes)
    x = torch.randn(2, 3, 4, 4)
    got = sf.eps(found.denoiser(UNet(), channels=3), x, 0.5)
    torch.testing.assert_close(got, model(x, None)[:, :3], atol=1e-5, rtol=1e-4)
    cosine = torch.linspace(1e-3, 0.5, 20)
    assert repr(states.read(path, betas=cosine).schedule) == repr(sf.Discrete(betas=cosine))


@torch.no_grad()
def test_consistency_models_are_told_their_level_and_end_paths(tmp_path):
    """As openai's KarrasDenoiser calls them: 250 log(sigma + 1e-44), and the identity at sigma = 0.002."""

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 1))])
            self.out = nn.Sequential(nn.Conv2d(3, 3, 1))

        def forward(self, x, level):
            return self.out(self.input_blocks[0](x)) + level[:, None, None, None] / 1000

    torch.manual_seed(0)
    model = UNet()
    path = tmp_path / "cd.pt"
    torch.save(model.state_dict(), path)
    found = states.read(path, convention="consistency models")
    assert "250 log(sigma)" in found.notes[0]
    flow_map = found.denoiser(UNet())
    sigma, x = 3.0, 3 * torch.randn(2, 3, 4, 4)
    level = torch.full((2,), 1000 * 0.25 * math.log(sigma + 1e-44))
    out = model(x / math.hypot(sigma, 0.5), level)
    beyond = sigma - 0.002
    expected = 0.25 / (beyond**2 + 0.25) * x + beyond * 0.5 / math.hypot(sigma, 0.5) * out
    t = flow_map.schedule.time_of_log_snr(-math.log(math.sqrt(sigma**2 - 0.002**2)))
    torch.testing.assert_close(flow_map(x, t), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(flow_map(x, 0.0), x)
    with pytest.raises(ValueError, match="no channels beside its prediction's"):
        found.denoiser(UNet(), channels=3)
    with pytest.raises(
        ValueError, match=r"betas are said of guided-diffusion's files alone; .*cd\.pt is read as consi"
    ):
        states.read(path, convention="consistency models", betas=torch.linspace(1e-4, 0.02, 50))


@pytest.mark.parametrize(("prefix", "kind"), [("inner_model.", "k-diffusion"), ("model.map_layer0.", "EDM")])
def test_edms_target_is_read_with_its_level(tmp_path, prefix, kind):
    own = {"inner_model.": net(), "model.map_layer0.": Net(map_layer0=nn.Linear(2, 2))}[prefix]
    before = "inner_model." if kind == "k-diffusion" else "model."
    content = {before + k: v for k, v in own.state_dict().items()}
    found = states.read(put(tmp_path / "e.pt", content), sigma_data=0.7)
    assert (found.convention, found.parameterization, found.level) == (kind, sf.EDMPreconditioning(0.7), "log_sigma/4")
    found.denoiser(own)


class Runs:
    def __reduce__(self):
        return print, ("this ran",)


def test_code_in_a_file_does_not_run(tmp_path, capsys):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"ema": Runs()}))
    torch.save({"ema": Runs()}, tmp_path / "m.pt")
    for name in ("m.pkl", "m.pt"):
        with pytest.raises(ValueError, match="holds more than tensors"):
            states.read(tmp_path / name)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"a text\n", b"\x00" * 99, b"PK\x03\x04 no zip"])
def test_what_is_no_file_of_weights_is_not_said_to_hold_code(tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.pt is damaged or no file of weights"):
        states.read(tmp_path / "m.pt")


def test_what_does_not_fit_is_said_in_one_line(tmp_path):
    path = put(tmp_path / "m.pt", {f"inner_model.{k}": v for k, v in net().state_dict().items()})
    found = states.read(path)
    with pytest.raises(ValueError, match=r"'third.bias' is in the network alone"):
        found.denoiser(Net(first=nn.Conv2d(1, 2, 1), second=nn.Linear(2, 2), third=nn.Linear(1, 1)))
    with pytest.raises(ValueError, match=r"'first.weight' has shape \(3, 1, 1, 1\); the file's has \(2, 1, 1, 1\)"):
        found.denoiser(Net(first=nn.Conv2d(1, 3, 1), second=nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="of no convention known by its names"):
        states.read(put(tmp_path / "n.pt", {"a": torch.zeros(1)}))
    with pytest.raises(FileNotFoundError, match="no file at"):
        states.read(tmp_path / "none.pt")
