import pytest
import torch

from scorefield.inverse import operators as ops
from scorefield.recipes.operators import OPERATORS, parse


def output(spec, shape=(1, 16, 16)):
    return parse(spec, shape).output_shape


@pytest.mark.parametrize("name", OPERATORS)
def test_every_name_makes_an_operator_with_its_defaults(name):
    shape = (3, 16, 16) if name == "colorize" else (1, 16, 16)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    operator = parse(name, shape)
    assert operator(x).shape == (2, *operator.output_shape)


def test_options_reach_the_operator():
    assert output("radon:views=7,detectors=20,spacing=2") == (1, 7, 20)
    angles = parse("radon:views=3,start=-60,stop=30", (1, 16, 16)).angles  # type: ignore[attr-defined]
    assert torch.allclose(torch.rad2deg(angles), torch.tensor([-60.0, -30.0, 0.0], dtype=torch.float64))
    assert output("downsample:factor=2,kernel=bicubic") == (1, 8, 8)
    assert output("inpaint:missing=0.75") == (64,)
    assert output("inpaint:missing=0.75", (3, 16, 16)) == (192,)
    assert output("inpaint-box:size=0.25") == (240,)
    assert output("compressed:ratio=0.1,matrix=dct") == (26,)
    assert output("mri:acceleration=2,coils=3") == (3, 128, 2)
    radial = output("mri:kind=radial,acceleration=4")[0]
    assert 40 < radial <= 64


def test_steps_are_taken_from_left_to_right():
    both = parse("blur:std=1 + downsample:factor=2", (1, 16, 16))
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred = ops.Blur(ops.gaussian_kernel(1.0), (1, 16, 16), "reflect")(x)
    assert torch.allclose(both(x), ops.Downsample(2, (1, 16, 16))(blurred))
    assert isinstance(both, ops.LinearOperator)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random:views=3", "unknown 'random'. Did you mean 'radon'?"),
        ("radon:view=3", "unknown key 'operator.view': radon has no such argument. Did you mean 'views'?"),
        ("radon:views=three", "operator.views: input should be a valid integer.*; got 'three'"),
        ("radon:views", "operator 'radon': options are written name=value; got 'views'"),
        ("radon:views=3,views=4", "operator 'radon': views is given twice"),
        ("radon:type=3", "unknown key 'operator.type': radon has no such argument"),
        ("radon:views=0", "operator.views: must be at least 1; got 0"),
        ("", "unknown ''. Known: blur, "),
        ("downsample:factor=3", "H and W must be multiples of the factor 3"),
        ("inpaint:missing=1", r"operator.missing: must lie in \[0, 1\); got 1"),
        ("inpaint-box:size=2", r"operator.size: must lie in \(0, 1\); got 2"),
        ("colorize", "event_shape must begin with the 3 channels"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(spec, message):
    with pytest.raises(ValueError, match=message) as raised:
        parse(spec, (1, 16, 16))
    assert "\n" not in str(raised.value)


def test_images_are_asked_for():
    with pytest.raises(ValueError, match=r"this one needs images, .* the model's events are \(5,\)"):
        parse("inpaint", (5,))
