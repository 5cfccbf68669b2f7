"""A pipeline and its denoiser here walk the same path: DDIM on its own timesteps, Euler on its own flow."""

import json
from types import SimpleNamespace

import pytest
import torch

import scorefield as sf
from scorefield.interop import diffusers as interop

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peer

STEPS = 5  # divides 1,000: else a trailing scheduler steps to a level that is not its next


def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=8, norm_num_groups=4,
    ).eval()  # fmt: skip


def transformer():
    torch.manual_seed(0)
    model = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=12,
        pos_embed_max_size=8,
    ).eval()  # fmt: skip
    for weight in model.parameters():  # some are 0 at first
        weight.data += 0.05 * torch.randn_like(weight)
    return model


def vae(**options):
    torch.manual_seed(1)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=16, **options,
    ).eval()  # fmt: skip


def ddim(prediction_type="epsilon", **options):
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        prediction_type=prediction_type, **{"set_alpha_to_one": False, "steps_offset": 1, **options},
    )  # fmt: skip


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def peer(pipe, x, tokens, empty, w, **more):
    """The pipeline's own loop, by its scheduler, in its integer timesteps."""
    scheduler, model = pipe.scheduler, getattr(pipe, "unet", None) or pipe.transformer
    scheduler.set_timesteps(STEPS)
    for k in scheduler.timesteps:
        level = k.expand(len(x))
        both = [
            model(x, timestep=level, encoder_hidden_states=c, return_dict=False, **{n: v[i] for n, v in more.items()})[
                0
            ]
            for i, c in enumerate((tokens, empty))
        ]
        x = scheduler.step(both[1] + w * (both[0] - both[1]), k, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize("w", [1.0, 3.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"set_alpha_to_one": True},
        {"steps_offset": 0},
        {"timestep_spacing": "trailing"},
    ],
    ids=lambda o: ",".join(map(str, o.values())) or "epsilon",
)
def test_ddim_on_its_timesteps_is_the_pipelines_own(options, w):
    pipe = SimpleNamespace(unet=unet(), scheduler=ddim(**options))
    x, tokens, empty = normal(2, 4, 8, 8), normal(2, 5, 16, seed=1), normal(1, 5, 16, seed=2)
    expected = peer(pipe, x, tokens, empty.expand(2, 5, 16), w)
    own = sf.ClassifierFreeGuidance(interop.denoiser(pipe, null={"tokens": empty}), w)
    got = sf.sample(own, x, solver=sf.DDIM(), times=interop.times(pipe, STEPS), cond={"tokens": tokens}).x
    scale = float(expected.abs().max())
    torch.testing.assert_close(got, expected, atol=1e-4 * max(scale, 1), rtol=0)


@pytest.mark.parametrize("w", [1.0, 3.0])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_on_its_flow_is_the_pipelines_own(shift, w):
    pipe = SimpleNamespace(transformer=transformer(), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=shift))
    x, tokens, empty = normal(2, 4, 8, 8), normal(2, 5, 16, seed=1), normal(1, 5, 16, seed=2)
    vector, none = normal(2, 12, seed=3), normal(1, 12, seed=4)
    expected = peer(pipe, x, tokens, empty.expand(2, 5, 16), w, pooled_projections=(vector, none.expand(2, 12)))
    own = sf.ClassifierFreeGuidance(interop.denoiser(pipe, null={"tokens": empty, "vector": none}), w)
    cond = {"tokens": tokens, "vector": vector}
    got = sf.sample(own, x, solver=sf.Euler(), times=interop.times(pipe, STEPS), cond=cond).x
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_null_marks_single_samples():
    pipe = SimpleNamespace(unet=unet(), scheduler=ddim())
    x, tokens, empty = normal(2, 4, 8, 8), normal(2, 5, 16, seed=1), normal(1, 5, 16, seed=2)
    own = interop.denoiser(pipe, null={"tokens": empty})
    mixed = own(x, 0.5, tokens=tokens, null=torch.tensor([False, True]))
    torch.testing.assert_close(mixed[:1], own(x[:1], 0.5, tokens=tokens[:1]))
    torch.testing.assert_close(mixed[1:], own(x[1:], 0.5))
    assert (own(x, 0.5) - own(x, 0.5, tokens=tokens)).abs().max() > 1e-3  # or none of this would show anything


def test_a_half_precision_network_denoises_single_precision_x():
    pipe = SimpleNamespace(unet=unet(), scheduler=ddim())
    x, tokens = normal(1, 4, 8, 8), normal(1, 5, 16, seed=1)
    with torch.no_grad():
        exact = interop.denoiser(pipe)(x, 0.999, tokens=tokens)
        pipe.unet.to(torch.bfloat16)
        rough = interop.denoiser(pipe)(x, 0.999, tokens=tokens)
    assert rough.dtype == torch.float32
    assert float((rough - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize("shift", [None, 0.1])
def test_the_latent_space_is_the_vaes(shift):
    pipe = SimpleNamespace(vae=vae(scaling_factor=0.2, **({} if shift is None else {"shift_factor": shift})))
    space = interop.latent_space(pipe)
    images = normal(2, 3, 16, 16)
    with torch.no_grad():
        z = pipe.vae.encode(images).latent_dist.mode()
        back = pipe.vae.decode(z).sample
    torch.testing.assert_close(space(images), 0.2 * (z - (shift or 0)))
    torch.testing.assert_close(space.inverse(space(images)), back)
    with pytest.raises(ValueError, match="no density in data space"):
        space.log_jacobian(3 * 16 * 16)


def text_encoder(folder):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(2)
    characters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=9)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=9, bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1,
    )  # fmt: skip
    return {"tokenizer": tokenizer, "text_encoder": transformers.CLIPTextModel(config).eval()}


@pytest.mark.parametrize("w", [1.0, 3.0])
def test_a_stable_diffusion_pipeline_from_prompt_to_picture(tmp_path, w):
    pipe = diffusers.StableDiffusionPipeline(
        unet=unet(), scheduler=ddim(), vae=vae(), **text_encoder(tmp_path), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    prompts, x = ["a cat", "dog"], normal(2, 4, 8, 8)
    common = {"latents": x, "num_inference_steps": STEPS, "guidance_scale": w, "height": 16, "width": 16}
    latents = pipe(prompts, output_type="latent", **common).images
    pictures = pipe(prompts, output_type="pt", **common).images
    own, cond = sf.ClassifierFreeGuidance(interop.denoiser(pipe), w), interop.encode_prompt(pipe, prompts)
    got = sf.sample(own, x, solver=sf.DDIM(), times=interop.times(pipe, STEPS), cond=cond).x
    torch.testing.assert_close(got, latents, atol=1e-4, rtol=1e-4)
    drawn = interop.latent_space(pipe).inverse(got) / 2 + 0.5
    torch.testing.assert_close(drawn.clamp(0, 1), pictures, atol=1e-4, rtol=0)
    with pytest.raises(TypeError, match="prompts must be a sequence of strings; got 'a cat'"):
        interop.encode_prompt(pipe, "a cat")


def test_what_is_not_known_is_refused():
    pipe = SimpleNamespace(unet=unet(), scheduler=ddim())
    own = interop.denoiser(pipe)
    with pytest.raises(ValueError, match="tokens was not given, and what the empty prompt is, is not known"):
        own(normal(1, 4, 8, 8), 0.5)
    with pytest.raises(ValueError, match="this network takes tokens; got label"):
        own(normal(1, 4, 8, 8), 0.5, label=torch.zeros(1))
    with pytest.raises(ValueError, match="no text encoder: its network takes tokens, which"):
        interop.encode_prompt(pipe, ["a cat"])
    with pytest.raises(ValueError, match=r"one of UNet2DConditionModel; .*; FluxTransformer2DModel; got Linear"):
        interop.denoiser(SimpleNamespace(unet=torch.nn.Linear(1, 1), scheduler=ddim()))
    with pytest.raises(ValueError, match=r"alphas_cumprod and a prediction_type of epsilon.*got 'other'"):
        interop.denoiser(SimpleNamespace(unet=pipe.unet, scheduler=ddim("other")))


@pytest.mark.parametrize("name", ["DDIM", "DDPM", "EulerDiscrete", "DPMSolverMultistep"])
def test_chains_rescaled_to_zero_terminal_snr_are_read_as_they_are(name):
    """Some schedulers put 2^-24 in the place of the last alpha_bar, which is above the one before it."""
    scheduler = getattr(diffusers, f"{name}Scheduler")(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    pipe = SimpleNamespace(unet=unet(), scheduler=scheduler)
    own = interop.denoiser(pipe, null={"tokens": normal(1, 3, 16)})
    assert own.schedule.terminal_snr == 0
    plain = scheduler.alphas_cumprod.double()[:-1]
    knots = torch.arange(1, len(plain) + 1, dtype=torch.float64) / (len(plain) + 1)
    torch.testing.assert_close(own.schedule.alpha(knots) ** 2, plain)
    assert bool(sf.sample(own, (1, 4, 8, 8), nfe=3).x.isfinite().all())
