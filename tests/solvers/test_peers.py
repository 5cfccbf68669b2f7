"""diffusers' steps are ours: the same denoiser, start and grid give the same samples, and where they do not, why.

A scheduler of theirs reads a grid as its noise ratios s = sigma / alpha, kept in float32, and a few rules make them.
Our grid's own ratios are put in their place, in float64, so that what is compared is the formula: most agree to
1e-12. Two of them round x to float32 at every step, 6e-8 of it, and agree to 1e-6.
Their order p of UniPC is ours p + 1; k-diffusion, which needs torchvision, is written out.
"""

import functools
import itertools
import math

import pytest
import torch

import scorefield as sf
from scorefield import grids
from scorefield.solvers import DataPrediction, NoisePrediction, PathVelocity

diffusers = pytest.importorskip("diffusers", reason="what ours is compared with; pip install diffusers")
pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")]  # theirs, of numpy

f64 = torch.float64
CHAIN = sf.Discrete.linear()
STEPS = torch.tensor([999, 900, 760, 640, 500, 310, 180, 90, 30, 6, -1], dtype=f64)  # k of the chain; -1 is no noise
TO_ZERO = (STEPS + 1) / CHAIN.steps
ABOVE_ZERO = TO_ZERO[:-1]
EXACT = 1e-12
ROUNDED = 1e-6
SIGMA = sf.EDM(sigma_max=1e3)  # integrate in s = sigma / alpha, as k-diffusion does
FULL_ORDER = {"lower_order_final": False}


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


@functools.cache
def mixture(schedule=CHAIN):
    """Wide enough for rounding not to be what decides between two modes."""
    means = torch.tensor([[1.2, 0.0], [-0.9, 0.6], [-0.2, -1.0]], dtype=f64)
    covariances = 0.3 * torch.eye(2, dtype=f64).expand(3, 2, 2)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=f64)
    return sf.ExactDenoiser(sf.GaussianMixture(weights, means, covariances), schedule)


def ladder(steps):
    """Equal steps in lambda; from s = 100, where D hardly moves and a first step of low order costs nothing."""
    return sf.VP().time_of_log_snr(-torch.linspace(math.log(100), math.log(0.1), steps + 1, dtype=f64))


def scheduler(name, **config):
    return getattr(diffusers, f"{name}Scheduler")(prediction_type="sample", **config)


def steps_of(scheduler, denoiser, x, labels, times, **each):
    """Where theirs integrate in s they take x / alpha, and scale what the network sees by alpha = 1 / hypot(1, s)."""
    x = x / scheduler.scale_model_input(torch.ones((), dtype=f64), labels[0])
    for i, (label, t) in enumerate(zip(labels, times, strict=True)):
        seen = scheduler.scale_model_input(x, label)
        x = scheduler.step(denoiser(seen, t), label, x, **{k: v[i] for k, v in each.items()}).prev_sample
    return x


def theirs(scheduler, denoiser, x, times, **each):
    """Their steps on our grid; `each` is given to `step` an element a step."""
    scheduler.set_timesteps(len(times) - 1)
    nodes, ratios = times[:-1], denoiser.schedule.noise_ratio(times)
    if len(scheduler.timesteps) == 2 * len(nodes) - 1:  # Heun's list the end of a step and the start of the next
        nodes = torch.cat([nodes[:1], nodes[1:].repeat_interleave(2)])
        ratios = torch.cat([ratios[:1], ratios[1:-1].repeat_interleave(2), ratios[-1:]])
    labels = torch.arange(len(nodes), 0.0, -1)  # only names of the steps, once the ratios are given
    scheduler.timesteps, scheduler.sigmas = labels, ratios
    return steps_of(scheduler, denoiser, x, labels, nodes, **each)


def ours(solver, denoiser, x, times, normals=()):
    """`sf.sample` with the noise given."""
    state = solver.init(x)
    for step in solver.plan(denoiser, times):
        state = solver.step(denoiser, state, step, normals.__getitem__)
    return state.x


@pytest.mark.parametrize(
    ("name", "config", "solver", "times", "atol"),
    [
        ("EulerDiscrete", {}, sf.DDIM(), TO_ZERO, ROUNDED),
        ("EulerDiscrete", {}, sf.Euler(SIGMA), TO_ZERO, ROUNDED),
        ("HeunDiscrete", {}, sf.Heun(SIGMA), TO_ZERO, EXACT),
        ("LMSDiscrete", {}, sf.Multistep(4, PathVelocity(SIGMA), corrector=False, finish=4), TO_ZERO, EXACT),
        ("DPMSolverMultistep", {"solver_order": 2}, sf.DPMSolverPP(order=2), TO_ZERO, ROUNDED),
        (
            "DPMSolverMultistep",
            {"solver_order": 2, "solver_type": "heun"},
            sf.Multistep(2, DataPrediction(), corrector=False),
            TO_ZERO,
            ROUNDED,
        ),
        *(("UniPCMultistep", {"solver_order": p}, sf.UniPC(order=p + 1), TO_ZERO, EXACT) for p in (1, 2, 3)),
        *(
            ("UniPCMultistep", {"solver_order": p} | FULL_ORDER, sf.UniPC(order=p + 1), ABOVE_ZERO, EXACT)
            for p in (1, 2, 3)
        ),
        *(
            (
                "UniPCMultistep",
                {"solver_order": p, "predict_x0": False} | FULL_ORDER,
                sf.UniPC(order=p + 1, field=NoisePrediction()),
                ABOVE_ZERO,
                EXACT,
            )
            for p in (1, 2, 3)
        ),
        # to sigma = 0 theirs multiplies 0 by exp(h), infinite, and gives nan
        *(("DEISMultistep", {"solver_order": p} | FULL_ORDER, sf.DEIS(order=p), ABOVE_ZERO, EXACT) for p in (1, 2, 3)),
    ],
)
def test_the_same_samples_on_the_same_grid(name, config, solver, times, atol):
    x = noise(64, 2)
    got = sf.sample(mixture(), x, solver=solver, times=times).x
    torch.testing.assert_close(got, theirs(scheduler(name, **config), mixture(), x, times), rtol=0, atol=atol)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_at_every_eta_with_the_same_noise(eta, spacing):
    """DDIM's own grid: its previous step is always K // N steps back, so that no other can be given."""
    peer = scheduler("DDIM", timestep_spacing=spacing, clip_sample=False, steps_offset=0)
    peer.alphas_cumprod = CHAIN.alpha((torch.arange(1000, dtype=f64) + 1) / 1000) ** 2
    peer.set_timesteps(20)
    times, x, z = grids.ddpm(CHAIN, 20, spacing=spacing), noise(64, 2), noise(20, 64, 2, seed=1)
    want = steps_of(peer, mixture(), x, peer.timesteps, times[:-1], eta=[eta] * 20, variance_noise=z)
    torch.testing.assert_close(ours(sf.DDIM(eta), mixture(), x, times, z), want, rtol=0, atol=EXACT)


@pytest.mark.parametrize("order", [1, 2])
def test_sde_dpm_solver_pp_with_the_same_noise(order):
    peer = scheduler("DPMSolverMultistep", solver_order=order, algorithm_type="sde-dpmsolver++")
    x, z = noise(64, 2), noise(10, 64, 2, seed=1)
    got = ours(sf.DPMSolverPP(order=order, eta=1.0), mixture(), x, TO_ZERO, z)
    torch.testing.assert_close(got, theirs(peer, mixture(), x, TO_ZERO, variance_noise=z), rtol=0, atol=ROUNDED)


def test_dpm_solver_pp_2s_takes_every_other_node_of_their_grid():
    """Their steps of order 1 and 2 in turn are one of ours; on equal steps in lambda the node between is its middle."""
    peer = scheduler("DPMSolverSinglestep", solver_order=2, final_sigmas_type="sigma_min", **FULL_ORDER)
    x, times = noise(64, 2), ladder(12)
    got = sf.sample(mixture(sf.VP()), x, solver=sf.DPMSolverPPS(order=2), times=times[::2]).x
    torch.testing.assert_close(got, theirs(peer, mixture(sf.VP()), x, times), rtol=0, atol=EXACT)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [7, 10, 50, 1000])
def test_grids_of_a_chain_are_theirs(spacing, steps):
    peer = scheduler("DDIM", timestep_spacing=spacing, steps_offset=0)
    peer.set_timesteps(steps)
    torch.testing.assert_close(grids.ddpm(CHAIN, steps, spacing=spacing)[:-1] * 1000 - 1, peer.timesteps.to(f64))


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("EulerDiscrete", sf.DDIM()),
        ("HeunDiscrete", sf.Heun(SIGMA)),
        ("DPMSolverMultistep", sf.DPMSolverPP()),
        ("UniPCMultistep", sf.UniPC()),
    ],
)
def test_a_scheduler_left_as_it_comes_gives_our_samples_on_its_chain(name, solver):
    """Nothing of theirs replaced: `Discrete` reads their alpha_bar, step k is t = (k + 1) / K, what is left is rounding
    of their tables to float32."""
    peer = scheduler(name)
    peer.set_timesteps(20)
    chain = sf.Discrete(alphas_cumprod=peer.alphas_cumprod)
    nodes = (peer.timesteps.to(f64) + 1) / chain.steps
    denoiser, x = mixture(chain), noise(64, 2)
    want = steps_of(peer, denoiser, x, peer.timesteps, nodes)
    times = torch.cat([nodes.unique().flip(0), torch.zeros(1, dtype=f64)])
    torch.testing.assert_close(sf.sample(denoiser, x, solver=solver, times=times).x, want, rtol=0, atol=1e-5)


def k_diffusion_heun(model, x, sigmas):
    """Its `sample_heun` without churn, on y = x / alpha."""
    for s, r in itertools.pairwise(sigmas):
        slope = (x - model(x, s)) / s
        y = x + (r - s) * slope
        x = y if r == 0 else x + (r - s) * (slope + (y - model(y, r)) / r) / 2
    return x


def k_diffusion_2m(model, x, sigmas):
    """Its `sample_dpmpp_2m`, on y = x / alpha."""
    past = ()
    for s, r in itertools.pairwise(sigmas):
        d, h = model(x, s), s.log() - r.log()
        extrapolated = d
        if past and r > 0:
            before, width = past
            extrapolated = (1 + h / (2 * width)) * d - h / (2 * width) * before
        x = r / s * x - torch.expm1(-h) * extrapolated
        past = d, h
    return x


@pytest.mark.parametrize(
    ("published", "solver"),
    [(k_diffusion_heun, sf.Heun(SIGMA)), (k_diffusion_2m, sf.DPMSolverPP())],
)
@pytest.mark.parametrize("schedule", [CHAIN, sf.EDM()])
def test_k_diffusion_is_ours_on_every_schedule(published, solver, schedule):
    denoiser, s = mixture(schedule), CHAIN.noise_ratio(TO_ZERO)
    s = s.clamp(max=70.0)  # within EDM's 80
    times = schedule.time_of_log_snr(-s.log())

    def model(y, ratio):
        t = schedule.time_of_log_snr(-ratio.log())
        return denoiser(schedule.alpha(t) * y, t)

    x = noise(64, 2)
    want = published(model, s[0] * x, s)
    got = sf.sample(denoiser, schedule.alpha(times[0]) * s[0] * x, solver=solver, times=times).x
    torch.testing.assert_close(got, want, rtol=0, atol=EXACT)


# Where theirs are not what their names say


def published_3m(denoiser, x, times, second):
    """DPM-Solver++(3M): phi_1 D + phi_2 h D' + phi_3 h^2 D'', with `second` times the second divided difference as D''.

    phi_3 is the integral over the step of e^(v - v_s) (v - v_t)^2 / 2, per h^2: the half is in it.
    """
    alpha, sigma = denoiser.schedule(times)
    v, past = torch.log(alpha / sigma), []
    for i in range(len(times) - 1):
        past = [denoiser(x, times[i]), *past][:3]
        h = v[i + 1] - v[i]
        phi1 = -torch.expm1(-h)
        phi2 = 1 - phi1 / h
        phi3 = 1 / 2 - phi2 / h
        update = phi1 * past[0]
        if i == 1:
            update = update + phi1 / 2 * (past[0] - past[1]) * h / (v[1] - v[0])
        elif i > 1:
            near, far = (v[i] - v[i - 1]) / h, (v[i - 1] - v[i - 2]) / h
            slope, older = (past[0] - past[1]) / near, (past[1] - past[2]) / far
            bend = (slope - older) / (near + far)
            update = update + phi2 * (slope + near * bend) + second * phi3 * bend
        x = sigma[i + 1] / sigma[i] * x + alpha[i + 1] * update
    return x


def dpm_solver_pp_3m():
    return scheduler("DPMSolverMultistep", solver_order=3, final_sigmas_type="sigma_min", **FULL_ORDER)


def test_dpm_solver_pp_3m_of_diffusers_takes_half_of_the_second_derivative():
    """The second divided difference is h^2 D'' / 2; phi_3 expects h^2 D''. Theirs with a factor 2 there is ours."""
    x = noise(64, 2)
    got = sf.sample(mixture(), x, solver=sf.DPMSolverPP(order=3), times=ABOVE_ZERO).x
    peer = theirs(dpm_solver_pp_3m(), mixture(), x, ABOVE_ZERO)
    torch.testing.assert_close(published_3m(mixture(), x, ABOVE_ZERO, second=1), peer, rtol=0, atol=ROUNDED)
    torch.testing.assert_close(published_3m(mixture(), x, ABOVE_ZERO, second=2), got, rtol=0, atol=EXACT)


@functools.cache
def solution():
    return sf.sample(mixture(sf.VP()), noise(64, 2), solver=sf.RK4(sf.Cosine(0.0)), times=ladder(1500)).x


def slopes(run):
    errors = [float((run(noise(64, 2), ladder(n)) - solution()).norm()) for n in (40, 80, 160)]
    return [math.log2(errors[i] / errors[i + 1]) for i in (0, 1)]


def unipc(order):
    return scheduler("UniPCMultistep", solver_order=order, **FULL_ORDER)


def run_theirs(make):
    return lambda x, times: theirs(make(), mixture(sf.VP()), x, times)


def run_ours(solver):
    return lambda x, times: sf.sample(mixture(sf.VP()), x, solver=solver, times=times).x


@pytest.mark.parametrize(
    ("run", "order"),
    [
        pytest.param(run_theirs(dpm_solver_pp_3m), 2, id="diffusers' 3M: of second order only, for that half"),
        pytest.param(run_ours(sf.DPMSolverPP(order=3)), 3, id="ours"),
        # phi_2 put at phi_1 / 2, in 2M and wherever UniPC reads two nodes, is O(h) off on a term of size h^2: a choice
        pytest.param(run_ours(sf.DPMSolverPP(order=2)), 2, id="2M: the middle of a step for its integral"),
        pytest.param(run_ours(sf.Multistep(2, DataPrediction(), corrector=False)), 2, id="2M, the integral"),
        pytest.param(run_theirs(lambda: unipc(1)), 2, id="UniPC-1, a half for the corrector's weight"),
        pytest.param(run_theirs(lambda: unipc(2)), 3, id="UniPC-2, a half for the predictor's weight"),
        pytest.param(run_ours(sf.Multistep(3, DataPrediction())), 3, id="UniPC-2, the integrals"),
    ],
)
def test_the_order_of_each(run, order):
    assert slopes(run) == pytest.approx([order] * 2, abs=0.2)
