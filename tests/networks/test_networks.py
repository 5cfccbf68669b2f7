"""What every network owes a denoiser: shapes, independence of samples, conditions, a zero start, gradients."""

import pytest
import torch
from network_cases import ALL, NETS, conditions, scrambled

import scorefield as sf
from scorefield import networks, storage

nets = pytest.mark.parametrize(("make", "event"), NETS.values(), ids=NETS.keys())
f64 = torch.float64


def batch(event, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, *event, generator=generator, dtype=dtype), torch.linspace(0.2, 0.5, 4, dtype=dtype)


@nets
@pytest.mark.parametrize("conditional", [False, True])
def test_networks_keep_the_denoiser_contract(make, event, conditional):
    denoiser = sf.NetworkDenoiser(scrambled(make(**(ALL if conditional else {}))), sf.VP(), sf.V())
    cond = {**conditions(), "null": torch.tensor([False, False, False, True])} if conditional else {}
    sf.checks.check_denoiser(denoiser, event, cond=cond)


@nets
def test_the_output_starts_at_zero(make, event):
    assert not make(**ALL)(*batch(event), **conditions()).any()


@nets
def test_level_and_every_condition_are_heard(make, event):
    net = scrambled(make(**ALL)).double()
    (x, level), cond = batch(event, dtype=f64), conditions(dtype=f64)
    out = net(x, level, **cond)
    assert (out - net(x, level + 0.1, **cond)).abs().amax() > 1e-6  # float64 resolves 1e-15
    other = cond["token_mask"].clone()
    other[0, 0] = False
    changes = {
        "label": (cond["label"] + 1) % 3,
        "vector": cond["vector"] + 1,
        "tokens": cond["tokens"] + 1,
        "token_mask": other,
        "null": torch.ones(4, dtype=torch.bool),
    }
    for name, value in changes.items():
        assert (out[0] - net(x, level, **{**cond, name: value})[0]).abs().amax() > 1e-6, name


@nets
def test_null_for_all_is_no_condition_at_all_and_for_some_is_no_condition_for_them(make, event):
    net = scrambled(make(**ALL)).double()
    (x, level), cond = batch(event, dtype=f64), conditions(dtype=f64)
    none, given = net(x, level), net(x, level, **cond)
    everyone = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(net(x, level, **cond, null=everyone), none)
    torch.testing.assert_close(net(x, level, **cond, null=~everyone), given)
    some = torch.tensor([True, False, False, True])
    expected = torch.where(some.reshape(-1, *(1,) * len(event)), none, given)
    torch.testing.assert_close(net(x, level, **cond, null=some), expected)


@nets
def test_a_sequence_without_a_token_that_counts_is_the_null_sequence(make, event):
    net = scrambled(make(token_dim=5))
    x, level = batch(event)
    tokens, nothing = torch.randn(4, 3, 5), torch.zeros(4, 3, dtype=torch.bool)
    torch.testing.assert_close(net(x, level, tokens=tokens, token_mask=nothing), net(x, level), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x, level, tokens=tokens[:, :0]), net(x, level), rtol=1e-4, atol=1e-5)


@nets
def test_tokens_that_do_not_count_are_not_read(make, event):
    net, cond = scrambled(make(**ALL)), conditions()
    x, level = batch(event)
    changed = torch.where(cond["token_mask"][:, :, None], cond["tokens"], 9.0)
    expected = net(x, level, **cond)
    torch.testing.assert_close(net(x, level, **{**cond, "tokens": changed}), expected, rtol=1e-4, atol=1e-5)


@nets
def test_every_parameter_is_trained(make, event):
    net = scrambled(make(**ALL)).train()
    net(*batch(event), **conditions(), null=torch.tensor([True, False, False, False])).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@nets
def test_no_parameter_lacks_a_gradient_when_nothing_is_null(make, event):
    net = scrambled(make(**ALL)).train()
    net(*batch(event), **conditions()).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "net",
    [
        networks.MLP(3, hidden=4, depth=1, **ALL),
        networks.UNet(1, 4, (1, 1), dims=1, resample="fir", progressive_input=True, **ALL),
        networks.DiT(1, patch=2, width=4, depth=1, heads=1, **ALL),
    ],
    ids=["mlp", "unet", "dit"],
)
def test_gradients_are_the_differences(net):
    net = scrambled(net).double()
    event = {"MLP": (3,), "UNet": (1, 3), "DiT": (1, 2, 3)}[type(net).__name__]
    x = torch.randn(2, *event, dtype=f64, requires_grad=True)
    level = torch.tensor([0.2, 0.9], dtype=f64, requires_grad=True)
    cond = conditions(2, dtype=f64)
    vector = cond.pop("vector").requires_grad_()
    assert torch.autograd.gradcheck(lambda x, level, vector: net(x, level, vector=vector, **cond), (x, level, vector))


@nets
def test_networks_come_back_from_a_checkpoint_as_they_were(make, event, tmp_path):
    denoiser = sf.NetworkDenoiser(scrambled(make(**ALL)), sf.VP(), sf.V())
    storage.save(tmp_path / "m.safetensors", denoiser)
    back = storage.load(tmp_path / "m.safetensors").denoiser
    (x, _), cond = batch(event), conditions()
    assert torch.equal(back(x, 0.4, **cond), denoiser(x, 0.4, **cond))


def test_networks_say_which_conditions_they_take():
    assert networks.MLP(2).conditions == ()
    assert networks.UNet(1, 8, num_classes=3).conditions == ("label",)
    assert networks.DiT(1, vector_dim=2, token_dim=3).conditions == ("vector", "tokens")


def test_bad_input_gets_one_line():
    net, x, level = networks.UNet(1, width=8), torch.zeros(2, 1, 8, 8), torch.zeros(2)
    told = networks.UNet(1, width=8, **ALL)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1, H, W\); got \(2, 3, 8, 8\)"):
        net(torch.zeros(2, 3, 8, 8), level)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 1, L\); got \(2, 1, 8, 8\)"):
        networks.UNet(1, width=8, dims=1)(x, level)
    with pytest.raises(ValueError, match="6 entries"):
        networks.MLP(6)(torch.zeros(2, 5), level)
    for name, value, argument in (
        ("label", torch.zeros(2, dtype=torch.int64), "num_classes"),
        ("vector", torch.zeros(2, 2), "vector_dim"),
        ("tokens", torch.zeros(2, 3, 5), "token_dim"),
        ("null", torch.zeros(2, dtype=torch.bool), "conditions"),
    ):
        with pytest.raises(ValueError, match=f"{name} was given to a network built without {argument}"):
            net(x, level, **{name: value})
    for cond, message in (
        ({"label": torch.tensor([1])}, r"label must have shape \(2,\)"),
        ({"label": torch.tensor([1, 3])}, r"label must lie in 0\.\.2; got 1\.\.3"),
        ({"vector": torch.zeros(2, 3)}, r"vector must have shape \(2, 2\)"),
        ({"tokens": torch.zeros(2, 5)}, r"tokens must have shape \(2, L, 5\)"),
        ({"token_mask": torch.ones(2, 3, dtype=torch.bool)}, "token_mask needs tokens beside it"),
        ({"tokens": torch.zeros(2, 3, 5), "token_mask": torch.ones(2, 3)}, r"needs bool of shape \(2, 3\)"),
        ({"null": torch.zeros(2)}, r"null must be bool of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            told(x, level, **cond)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.UNet(1, width=0), "width must be at least 1; got 0"),
        (lambda: networks.UNet(1, multipliers=()), "multipliers must be at least 1"),
        (lambda: networks.UNet(1, dims=3), "dims must be 1 or 2; got 3"),
        (lambda: networks.UNet(1, resample="cubic"), "resample must be nearest or fir, or conv; got 'cubic'"),
        (lambda: networks.UNet(1, resample_in_block=True), "resample must be nearest or fir; got 'conv'"),
        (lambda: networks.UNet(1, attention_levels=(0, 2)), r"attention_levels must lie in 0\.\.1; got \[0, 2\]"),
        (lambda: networks.UNet(1, attention=False, token_dim=3), "token_dim needs attention"),
        (lambda: networks.UNet(1, conditioning="gate"), "conditioning must be one of film, add, concat; got 'gate'"),
        (lambda: networks.MLP(2, hidden=0), "hidden must be at least 1"),
        (lambda: networks.MLP(2, level_embedding="x"), "level_embedding must be one of sinusoidal, fourier, learned"),
        (lambda: networks.MLP(2, num_classes=0), "num_classes must be at least 1, or None; got 0"),
        (lambda: networks.MLP(2, dropout=1.0), r"dropout must lie in \[0, 1\); got 1.0"),
        (lambda: networks.DiT(1, width=18), "width must be a multiple of 4 and of heads = 4; got 18"),
    ],
)
def test_bad_constructions_get_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
