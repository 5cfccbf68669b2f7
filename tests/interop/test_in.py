"""A network of another library is read as it was trained: one call, their own loops, and what a wrong reading costs."""

import itertools
import json

import pytest
import torch

import scorefield as sf
from scorefield.denoisers.levels import LEVELS
from scorefield.interop import diffusers as interop
from scorefield.interop import readings, unet2d

f64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Readings


class Foreign(torch.nn.Module):
    """A perfectly trained network for a mixture, told `word` and predicting `sign` times `target`."""

    def __init__(self, schedule, word, target, sign=1):
        super().__init__()
        law = sf.GaussianMixture(
            torch.tensor([0.5, 0.5]), torch.tensor([[1.0, 0.5], [-1.0, 0.0]]), 0.1 * torch.eye(2).expand(2, 2, 2)
        )
        self.exact, self.target, self.sign = sf.ExactDenoiser(law, schedule), target, sign
        self.times = torch.linspace(1e-4, 1 - 1e-4, 4001, dtype=f64)
        self.told = LEVELS[word](schedule, self.times)

    def forward(self, x, level):
        i = (self.told - level[0].double()).abs().argmin()  # the time it was told, whatever the word
        x0 = self.exact(x, self.times[i])
        out = sf.convert(sf.X0(), self.target, self.exact.schedule, x, x0, self.times[i])
        return self.sign * out


def data():
    return (
        Foreign(sf.VP(), "t", sf.X0())
        .exact.distribution.sample(256, generator=torch.Generator().manual_seed(1))
        .float()
    )


CASES = {
    "right": (sf.VP(), "999t", sf.Eps(), 1, "999t", sf.Eps()),
    "k-diffusion's level for EDM's": (sf.EDM(), "sigma", sf.X0(), 1, "log_sigma/4", sf.X0()),
    "the prediction lost": (sf.Discrete.linear(), "k", sf.V(), 1, "k", sf.Eps()),
    "minus the target": (sf.VP(), "999t", sf.Eps(), -1, "999t", sf.Eps()),
    "time reversed": (sf.Rectified(), "1-t", sf.Velocity(), -1, "t", sf.Velocity()),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_reading_is_caught_and_the_likely_one_named(case):
    schedule, word, target, sign, read_word, read_target = CASES[case]
    denoiser = sf.NetworkDenoiser(Foreign(schedule, word, target, sign), schedule, read_target, level=read_word)
    found = readings.measure(denoiser, data())
    assert (found.likely.level, found.likely.target, found.likely.sign) == (word, target, sign)
    assert found.right == (case == "right")
    assert ("likely wrong" in str(found)) != found.right
    assert denoiser.level == read_word  # it is left as it was


def test_a_reading_whose_losses_are_not_numbers_is_not_the_best():
    """A network that takes exp of its level overflows under others, and NaN counted as a loss of 0."""
    schedule = sf.EDM(sigma_max=20.0)
    exact = Foreign(schedule, "sigma", sf.X0()).exact

    class Exponential(torch.nn.Module):
        def forward(self, x, level):
            return exact.distribution.denoise(x, 1.0, torch.exp(4 * level.reshape(-1)[0]))

    found = readings.measure(sf.NetworkDenoiser(Exponential(), schedule, sf.X0(), level="999t"), data())
    assert any(loss != loss for reading in found.found for loss in reading.losses)
    assert (found.likely.level, found.likely.target, found.likely.sign) == ("log_sigma/4", sf.X0(), 1)


def test_measuring_needs_data():
    denoiser = sf.NetworkDenoiser(sf.networks.MLP(2), sf.VP(), sf.V())
    with pytest.raises(ValueError, match="measuring needs data"):
        readings.measure(denoiser, torch.zeros(4, 2))


# diffusers

diffusers = pytest.importorskip("diffusers", reason="what is imported; pip install diffusers")
peer = pytest.mark.peer
STEPS = 5


def unet(**options):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=options.pop("out_channels", 1), layers_per_block=1,
        block_out_channels=(8, 16), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, attention_head_dim=8, **options,
    ).eval()  # fmt: skip


def scheduler(name, **options):
    return getattr(diffusers, f"{name}Scheduler")(**options)


@torch.no_grad()
def loop(model, made, x, label=None):
    """A pipeline's own: its scheduler, its integer timesteps; the whole trajectory's end."""
    made.set_timesteps(STEPS)
    for k in made.timesteps:
        out = model(made.scale_model_input(x, k), k, class_labels=label).sample
        x = made.step(out[:, : x.shape[1]], k, x).prev_sample
    return x


def close(got, expected, tolerance):
    torch.testing.assert_close(got, expected, atol=tolerance * max(1.0, float(expected.abs().max())), rtol=0)


DDIM = {
    "epsilon": {},
    "v": {"prediction_type": "v_prediction"},
    "x0": {"prediction_type": "sample"},
    "zero terminal SNR": {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
    "cosine": {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"},
    "scaled linear": {"beta_schedule": "scaled_linear", "timestep_spacing": "trailing"},
}


@peer
@pytest.mark.parametrize("case", DDIM)
def test_a_folder_draws_by_ddim_what_its_own_pipeline_draws(case, tmp_path):
    model, made = unet(), scheduler("DDIM", clip_sample=False, set_alpha_to_one=True, **DDIM[case])
    diffusers.DDIMPipeline(model, made).save_pretrained(tmp_path)
    denoiser = unet2d.load(tmp_path)
    assert unet2d.event_shape(denoiser) == (1, 8, 8)
    x = normal(2, 1, 8, 8)
    pipe = type("Pipe", (), {"scheduler": made})
    ours = sf.sample(denoiser, x, solver=sf.DDIM(), times=interop.times(pipe, STEPS)).x
    close(ours, loop(model, made, x), 1e-5)


@peer
@pytest.mark.parametrize("options", [{}, {"use_karras_sigmas": True}], ids=["plain", "karras"])
def test_eulers_loop_in_sigma_is_their_own(options):
    """Theirs are told a timestep interpolated in log sigma between steps, ours by a smooth curve: 1e-3 of a step."""
    model, made = unet(), scheduler("EulerDiscrete", timestep_spacing="trailing", **options)
    denoiser = unet2d.denoiser(model, made)
    x = normal(2, 1, 8, 8)
    made.set_timesteps(STEPS)
    times = interop.times(type("Pipe", (), {"scheduler": made}), STEPS)
    first = denoiser.schedule.alpha(times[0])
    ours = sf.sample(
        denoiser, (x * first * made.init_noise_sigma).float(), solver=sf.Euler(sf.EDM(sigma_max=1e3)), times=times
    ).x
    close(ours, loop(model, made, x * made.init_noise_sigma), 1e-3 if options else 1e-5)


@peer
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flows_shift_moves_its_levels_once(shift):
    model, made = unet(), scheduler("FlowMatchEulerDiscrete", shift=shift)
    denoiser, x = unet2d.denoiser(model, made), normal(2, 1, 8, 8)
    assert (denoiser.level, denoiser.parameterization) == ("1000t", sf.Velocity())
    times = interop.times(type("Pipe", (), {"scheduler": made}), STEPS)
    made.set_timesteps(STEPS)
    expected = x
    for k in made.timesteps:
        expected = made.step(model(expected, k).sample.detach(), k, expected).prev_sample
    close(sf.sample(denoiser, x, solver=sf.Euler(), times=times).x, expected, 1e-5)
    raw = torch.linspace(1, float(made.sigma_min), STEPS)  # what `shift` is applied to at this place, and once
    torch.testing.assert_close(times[:-1].float(), shift * raw / (1 + (shift - 1) * raw), atol=1e-6, rtol=0)


@peer
def test_edms_preconditioning_is_their_own():
    model, made = unet(), scheduler("EDMEuler", sigma_max=80.0, sigma_data=0.5)
    denoiser, x = unet2d.denoiser(model, made), 80 * normal(2, 1, 8, 8)
    times = interop.times(type("Pipe", (), {"scheduler": made}), STEPS)
    ours = sf.sample(denoiser, x, solver=sf.Euler(sf.EDM(sigma_max=80.0)), times=times).x
    close(ours, loop(model, made, x), 1e-5)


def consistency_scheduler(**options):
    return scheduler("CMStochasticIterative", **{"clip_denoised": False, **options})


@peer
@pytest.mark.parametrize("options", [{}, {"sigma_min": 0.3, "sigma_max": 20.0, "sigma_data": 0.8}])
@torch.no_grad()
def test_a_consistency_models_one_call_is_their_own(options):
    """At each level, and at its smallest sigma the identity, whatever the network says."""
    model, made = unet(), consistency_scheduler(**options)
    flow_map = unet2d.denoiser(model, made)
    assert isinstance(flow_map, sf.flowmaps.ConsistencyMap)
    target = flow_map.parameterization
    assert isinstance(target, sf.ConsistencyPreconditioning)
    for steps in (1, 4):
        made.set_timesteps(steps)
        for k, sigma in zip(made.timesteps, made.sigmas, strict=False):
            x = float(sigma) * normal(2, 1, 8, 8)
            out = model(x / (sigma**2 + made.config.sigma_data**2) ** 0.5, k).sample
            c_skip, c_out = made.get_scalings_for_boundary_condition(sigma)
            ratio = torch.tensor(float(sigma)).double() ** 2 - target.sigma_min**2
            t = flow_map.schedule.time_of_log_snr(-ratio.sqrt().log())
            close(flow_map(x, t), c_out * out + c_skip * x, 1e-5)
            assert float(target.noise_level(flow_map.schedule, t)) == pytest.approx(float(k), abs=1e-3)
    x = normal(2, 1, 8, 8)
    assert torch.equal(flow_map(x, 0.0), x)
    assert made.get_scalings_for_boundary_condition(torch.tensor(target.sigma_min)) == (1, 0)


@peer
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"sigma_min": 0.3, "sigma_max": 20.0}])
@torch.no_grad()
def test_a_consistency_models_loop_is_their_own(options, steps, monkeypatch, tmp_path):
    """Their multistep loop with our noise in theirs; at sigma_min = .3 it shows that sqrt(sigma^2 - sigma_min^2) is
    added, and sigma would be off by .01."""
    model, made = unet(num_class_embeds=3), consistency_scheduler(**options)
    diffusers.ConsistencyModelPipeline(model, made).save_pretrained(tmp_path)
    flow_map = unet2d.load(tmp_path)
    label, x = torch.tensor([2, 0]), made.config.sigma_max * normal(2, 1, 8, 8)
    times = interop.times(type("Pipe", (), {"scheduler": made}), steps)
    seen = []

    def told(shape, **_):  # the noise that their steps ask for, in turn
        seen.append(normal(*shape, seed=len(seen) + 1))
        return seen[-1]

    theirs = pytest.importorskip("diffusers.schedulers.scheduling_consistency_models")
    monkeypatch.setattr(theirs, "randn_tensor", told)
    made.set_timesteps(steps)
    expected = x
    for k in made.timesteps:
        scaled = made.scale_model_input(expected, k)
        expected = made.step(model(scaled, k, class_labels=label).sample, k, expected).prev_sample
    ours = x
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        step = sf.flowmaps.Jump(renoise=1.0).coefficients(flow_map, t[None], s[None])[0]
        end = flow_map(ours, t, step.until, label=label)
        ours = step.keep * end + (step.noise * seen[i] if step.noise else 0.0)
    close(ours, expected, 1e-5)


@peer
@torch.no_grad()
def test_score_sdes_ve_network_gives_its_score():
    model, made = unet(time_embedding_type="fourier"), scheduler("ScoreSdeVe", sigma_min=0.01, sigma_max=50.0)
    denoiser, x, t = unet2d.denoiser(model, made), 5 * normal(2, 1, 8, 8), 0.6
    sigma = 0.01 * 5000**t
    close(sf.score(denoiser, x, t), model(x, torch.full((2,), sigma)).sample, 1e-4)


@peer
@torch.no_grad()
def test_a_learned_variance_is_left_aside_and_classes_are_labels():
    model = unet(out_channels=2, num_class_embeds=3)
    denoiser = unet2d.denoiser(model, scheduler("DDPM"))
    assert (denoiser.channels, denoiser.net.conditions, denoiser.level) == (1, ("label",), "k")
    x, label = normal(2, 1, 8, 8), torch.tensor([0, 2])
    eps = model(x, 499, class_labels=label).sample[:, :1]
    close(sf.eps(denoiser, x, 0.5, label=label), eps, 1e-5)
    with pytest.raises(ValueError, match="takes a label for each x and no null"):
        denoiser(x, 0.5)


@peer
def test_epsilon_at_zero_terminal_snr_is_refused_not_clipped():
    denoiser = unet2d.denoiser(unet(), scheduler("DDIM", rescale_betas_zero_snr=True))
    with pytest.raises(ValueError, match="does not determine the prediction at t = 1"):
        denoiser(normal(2, 1, 8, 8), 1.0)
    assert "(zero)" in readings.understood(denoiser)[1]


@peer
def test_what_is_not_read_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a pipeline's folder has unet.config.json; there is none in"):
        unet2d.load(tmp_path)
    with pytest.raises(ValueError, match="EDMEulerScheduler is read with prediction_type='epsilon'"):
        unet2d.denoiser(unet(), scheduler("EDMEuler", prediction_type="v_prediction"))
    with pytest.raises(ValueError, match=r"CMStochasticIterativeScheduler is read with s_noise=1.*got 1\.01"):
        unet2d.denoiser(unet(), scheduler("CMStochasticIterative", s_noise=1.01))
    with pytest.raises(ValueError, match="has no channels beside its prediction's; got channels=1"):
        unet2d.denoiser(unet(out_channels=2), scheduler("CMStochasticIterative"))
    diffusers.DDIMPipeline(unet(), scheduler("DDIM")).save_pretrained(tmp_path)
    config = tmp_path / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "UNet3D"}))
    with pytest.raises(ValueError, match="unet must be a UNet2DModel; got UNet3D"):
        unet2d.load(tmp_path)
