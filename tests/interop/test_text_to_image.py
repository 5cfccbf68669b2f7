"""Each kind of network against its own pipeline's loop in diffusers: the same noise, prompts and steps give the same
latents."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import scorefield as sf
from scorefield.interop import diffusers as interop

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peer

STEPS = 5


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(model):
    """Weights that are zero at first are not: else half the network would not be looked at."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    return model.eval()


def vae():
    return diffusers.AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=4,
        layers_per_block=1, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=64,
    ).eval()  # fmt: skip


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(own, x, w, cond, times, solver):
    return sf.sample(sf.ClassifierFreeGuidance(own, w) if w != 1 else own, x, solver=solver, times=times, cond=cond).x


@pytest.mark.parametrize("w", [1.0, 3.0])
def test_stable_diffusion_xl(w):
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=(2, 4), norm_num_groups=4, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 12,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    pipe = quiet(
        diffusers.StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=None,
            text_encoder_2=None,
            tokenizer=None,
            tokenizer_2=None,
            unet=moved(unet),
            scheduler=scheduler,
        )
    )
    x, tokens, vector = normal(2, 4, 8, 6), normal(2, 5, 16, seed=1), normal(2, 12, seed=2)
    empty, none = normal(1, 5, 16, seed=3), normal(1, 12, seed=4)
    expected = pipe(
        prompt_embeds=tokens, pooled_prompt_embeds=vector, negative_prompt_embeds=empty.expand(2, 5, 16),
        negative_pooled_prompt_embeds=none.expand(2, 12), latents=x, guidance_scale=w, num_inference_steps=STEPS,
        height=64, width=48, original_size=(512, 400), crops_coords_top_left=(3, 5), output_type="latent",
    ).images  # fmt: skip
    own = interop.denoiser(pipe, null={"tokens": empty, "vector": none})
    sizes = torch.tensor([512.0, 400, 3, 5, 64, 48])
    cond = {"tokens": tokens, "vector": vector, "sizes": sizes.expand(2, 6)}
    got = drawn(own, x, w, cond, interop.times(pipe, STEPS), sf.DDIM())
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    usual = {"tokens": tokens, "vector": vector}
    with torch.no_grad():
        said = own(x, 0.5, **usual, sizes=torch.tensor([64.0, 48, 0, 0, 64, 48]).expand(2, 6))
        torch.testing.assert_close(own(x, 0.5, **usual), said)


def test_the_empty_prompt_of_sdxl_is_zeros_where_its_pipeline_says_so(monkeypatch):
    unet = SimpleNamespace(config=SimpleNamespace(addition_embed_type="text_time", out_channels=4, in_channels=4))
    monkeypatch.setattr(interop, "encode_prompt", lambda pipe, prompts: {"tokens": torch.ones(1, 2, 3)})
    for zeros in (True, False):
        net = torch.nn.Linear(1, 1)
        net.__class__ = type("UNet2DConditionModel", (torch.nn.Linear,), {})
        net.config = unet.config
        pipe = SimpleNamespace(
            unet=net, text_encoder=object(), scheduler=diffusers.DDIMScheduler(),
            config=SimpleNamespace(force_zeros_for_empty_prompt=zeros),
        )  # fmt: skip
        made: Any = interop.denoiser(pipe).net
        assert float(made._null["tokens"].max()) == (0 if zeros else 1)


@pytest.mark.parametrize("w", [1.0, 3.0])
def test_dit(w):
    torch.manual_seed(0)
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=1000, norm_num_groups=4,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipe = quiet(diffusers.DiTPipeline(moved(transformer), vae(), scheduler))
    label = [3, 900]
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(7))  # what the pipeline draws
    seen = []
    pipe.vae.decode = lambda z: (seen.append(z), SimpleNamespace(sample=torch.zeros(2, 3, 64, 64)))[1]
    pipe(label, guidance_scale=w, generator=generator, num_inference_steps=STEPS, output_type="np")
    own = interop.denoiser(pipe)
    got = drawn(own, x, w, {"label": torch.tensor(label)}, interop.times(pipe, STEPS), sf.DDIM())
    torch.testing.assert_close(got, seen[0] * pipe.vae.config.scaling_factor, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("w", [1.0, 3.0])
def test_pixart(w, sized):
    torch.manual_seed(0)
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        cross_attention_dim=24, caption_channels=16, norm_num_groups=4, use_additional_conditions=sized,
    )  # fmt: skip
    # the pipeline sends sizes only to a network of 1,024 pixels: its own sample_size must say so
    transformer.register_to_config(sample_size=128 if sized else 8)
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipe = quiet(diffusers.PixArtAlphaPipeline(None, None, vae(), moved(transformer), scheduler))
    x, tokens, empty = normal(2, 4, 8, 8), normal(2, 5, 16, seed=1), normal(1, 5, 16, seed=2)
    mask, none = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]]), torch.tensor([[1.0, 0, 0, 0, 0]])
    expected = pipe(
        prompt_embeds=tokens, prompt_attention_mask=mask, negative_prompt=None,
        negative_prompt_embeds=empty.expand(2, 5, 16), negative_prompt_attention_mask=none.expand(2, 5), latents=x,
        guidance_scale=w, num_inference_steps=STEPS, height=64, width=64, output_type="latent",
        use_resolution_binning=False, clean_caption=False,
    ).images  # fmt: skip
    own = interop.denoiser(pipe, null={"tokens": empty, "mask": none})
    got = drawn(own, x, w, {"tokens": tokens, "mask": mask}, interop.times(pipe, STEPS), sf.DDIM())
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        whole = own(x, 0.5, tokens=tokens, mask=torch.ones(2, 5))
        torch.testing.assert_close(own(x, 0.5, tokens=tokens), whole)
        assert (own(x, 0.5, tokens=tokens, mask=mask) - whole)[0].abs().max() > 1e-4


@pytest.mark.parametrize("distilled", [True, False])
def test_flux(distilled):
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=12, axes_dims_rope=(4, 4, 8), guidance_embeds=distilled,
    )  # fmt: skip
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipe = quiet(diffusers.FluxPipeline(scheduler, vae(), None, None, None, None, moved(transformer)))
    tokens, vector = normal(2, 5, 16, seed=1), normal(2, 12, seed=2)
    x = normal(2, 4, 8, 12)
    packed = pipe._pack_latents(x, 2, 4, 8, 12)
    expected = pipe(
        prompt_embeds=tokens, pooled_prompt_embeds=vector, latents=packed, num_inference_steps=STEPS, height=64,
        width=96, guidance_scale=2.5, output_type="latent",
    ).images  # fmt: skip
    own = interop.denoiser(pipe)
    mu = 0.5 + (1.15 - 0.5) * (24 - 256) / (4096 - 256)  # as the pipeline has it, of the 24 places
    times = interop.times(pipe, STEPS, mu=mu, sigmas=[1 - i / STEPS for i in range(STEPS)])
    cond = {"tokens": tokens, "vector": vector, **({"guidance": torch.full((2,), 2.5)} if distilled else {})}
    got = sf.sample(own, x, solver=sf.Euler(), times=times, cond=cond).x
    torch.testing.assert_close(pipe._pack_latents(got, 2, 4, 8, 12), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"latents of even height and width; got \(7, 8\)"):
        own(normal(2, 4, 7, 8), 0.5, **cond)
