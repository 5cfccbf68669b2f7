"""What bfloat16 autocast leaves to float32 on a CPU, to the bit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_cases import data, denoiser

from scorefield import training
from scorefield.training import precision
from scorefield.training.precision import autocast

CPU = torch.device("cpu")


@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradients_are_those_of_float32_rounded_once(masked):
    generator = torch.Generator().manual_seed(0)
    q, k, v, g = (torch.randn(2, 2, 9, 4, generator=generator).bfloat16() for _ in range(4))
    mask = torch.rand(2, 1, 9, 9, generator=generator) < 0.7 if masked else None
    narrow, wide = (
        [a.detach().clone().to(dtype).requires_grad_() for a in (q, k, v)] for dtype in (torch.bfloat16, torch.float32)
    )
    with autocast(CPU, True):
        out = F.scaled_dot_product_attention(*narrow, attn_mask=mask)
    exact = F.scaled_dot_product_attention(*wide, attn_mask=mask)
    assert torch.equal(out, exact.bfloat16())
    out.backward(g)
    exact.backward(g.float())
    for a, b in zip(narrow, wide, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad.bfloat16())


def test_group_norm_does_not_depend_on_the_order_in_memory():
    x, norm = torch.randn(2, 8, 5, 6).bfloat16(), nn.GroupNorm(2, 8)
    with autocast(CPU, True):
        usual, last = norm(x), norm(x.contiguous(memory_format=torch.channels_last))
    assert torch.equal(usual, last)
    assert last.is_contiguous()


def test_products_are_in_bfloat16_only_where_that_is_asked_for():
    layer, x = nn.Linear(3, 4), torch.randn(5, 3)
    for enabled, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with autocast(CPU, enabled):
            assert layer(x).dtype == dtype
    assert layer(x).dtype == torch.float32


def test_a_processor_without_bfloat16_trains_in_float32_and_says_so(monkeypatch):
    monkeypatch.setattr(precision, "native", lambda device: False)
    with pytest.warns(UserWarning, match="this CPU has no bfloat16 instructions: training in float32 instead"):
        fast = training.fit(denoiser(), data(), steps=3, batch_size=8, bf16=True, optimizer=training.Muon(bf16=True))
    plain = training.fit(denoiser(), data(), steps=3, batch_size=8, optimizer=training.Muon())
    assert fast.history.loss == plain.history.loss


def test_a_processor_with_bfloat16_uses_it_when_asked(monkeypatch):
    monkeypatch.setattr(precision, "native", lambda device: True)
    fast, plain = (training.fit(denoiser(), data(), steps=3, batch_size=8, bf16=bf16) for bf16 in (True, False))
    assert fast.history.loss != plain.history.loss
