"""Series of several lengths: cut, or filled up with a mask; folders of them; and what is refused, by its file."""

import math

import numpy as np
import pytest
import torch

import scorefield as sf
from scorefield import data

LONG, SHORT = np.arange(10.0), np.array([20.0, 22, 24, 26])


def test_one_length_needs_no_policy():
    made = data.Series([LONG, LONG + 1])
    assert (made.event_shape, made.masked, made.said) == ((1, 10), False, ())
    assert torch.equal(made.x[1, 0], torch.arange(1.0, 11))


def test_crop_keeps_the_first_numbers_of_each_and_says_so():
    made = data.Series([LONG, SHORT], lengths="crop")
    assert torch.equal(made.x[:, 0], torch.tensor([[0.0, 1, 2, 3], [20, 22, 24, 26]]))
    assert made.said == ("series: 2 series of 2 lengths, 4 to 10: of each the first 4 are kept (lengths = crop)",)


def test_pad_fills_up_with_the_mean_and_adds_the_mask():
    made = data.Series([np.stack([LONG, -LONG]), np.stack([SHORT, -SHORT])], lengths="pad")
    assert (made.event_shape, made.masked) == ((3, 10), True)
    mean = (LONG.sum() + SHORT.sum()) / 14
    assert torch.equal(made.x[0, :2], torch.tensor(np.stack([LONG, -LONG])).float())
    torch.testing.assert_close(made.x[1, 0], torch.tensor([*SHORT, *[mean] * 6]).float())
    torch.testing.assert_close(made.x[1, 1], -made.x[1, 0])
    assert made.x[:, 2].tolist() == [[1.0] * 10, [1.0] * 4 + [0.0] * 6]
    assert "filled up to 10 with their mean; a last channel is 1 where" in made.said[0]
    transform = data.Channels.measured(made)
    assert transform.masked
    x = transform(made.x)
    torch.testing.assert_close(x.mean((0, 2)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std((0, 2), correction=0), torch.ones(3))
    torch.testing.assert_close(transform.inverse(x), made.x)
    assert transform.log_jacobian(30) == pytest.approx(-10 * sum(math.log(s) for s in transform.channel_std))


def test_channels_keep_the_contract_of_transforms():
    sf.checks.check_transform(
        data.Channels((1.0, -2.0), (3.0, 0.5)), torch.randn(6, 2, 5, generator=torch.manual_seed(0))
    )
    with pytest.raises(ValueError, match="Channels has 2 channels; got shape"):
        data.Channels((1.0, -2.0), (3.0, 0.5))(torch.zeros(4, 3, 5))
    with pytest.raises(ValueError, match="leave out the constant channel 1"):
        data.Channels.measured(torch.stack([torch.randn(4, 5), torch.ones(4, 5)], 1))
    with pytest.raises(ValueError, match=r"events \(C, ...\); got \(5,\)"):
        data.Channels.measured(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="multiple of the 2 channels; got 7"):
        data.Channels((1.0, -2.0), (3.0, 0.5)).log_jacobian(7)


@pytest.fixture
def folder(tmp_path):
    """Two classes, two lengths, an array and three tables."""
    for name in ("b", "a"):
        (tmp_path / "ecg" / name).mkdir(parents=True)
    np.save(tmp_path / "ecg" / "a" / "1.npy", LONG)
    (tmp_path / "ecg" / "a" / "2.csv").write_text("20\n22\n24\n26\n")
    (tmp_path / "ecg" / "b" / "3.csv").write_text("time (s),lead I\n" + "".join(f"{i / 100},{i}\n" for i in range(10)))
    (tmp_path / "ecg" / "b" / "4.tsv").write_text("lead I\tt\n" + "".join(f"{v}\t0\n" for v in SHORT))
    return tmp_path / "ecg"


def test_a_folder_of_arrays_and_tables_is_a_set_of_series(folder):
    made = data.load(folder, lengths="crop")
    assert isinstance(made, data.Series)
    expected = torch.tensor([[0.0, 1, 2, 3], [20, 22, 24, 26]] * 2)
    assert torch.equal(made.x[:, 0], expected)
    assert (made.class_names, made.cond["label"].tolist()) == (("a", "b"), [0, 0, 1, 1])
    assert made.said[0].startswith(f"{folder}: 4 series of 2 lengths, 4 to 10: of each the first 4")
    with pytest.raises(
        ValueError, match=r"ecg: 4 series of 2 lengths, 4 to 10. Say what to do: lengths = 'crop' keeps"
    ):
        data.load(folder)


def test_which_axis_is_time_is_guessed_aloud_or_said(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([LONG, -LONG], 1))  # (10, 2)
    made = data.read_series(tmp_path)
    assert made.event_shape == (2, 10)
    assert made.said == (f"{tmp_path}: the longer axis of each array is taken for time (layout CL or LC says which)",)
    assert data.load(tmp_path, layout="CL").event_shape == (10, 2)
    assert data.read_series(tmp_path, layout="LC").said == ()
    (tmp_path / "b.csv").write_text("x,y,z\n1,2,3\n4,5,6\n")  # rows are times, however few
    assert data.read_series(tmp_path, layout="LC", lengths="crop", on_error="skip", columns=("z", "x")).x.shape == (
        2,
        2,
        2,
    )


def test_an_npz_of_series_is_read_where_lengths_are_said(tmp_path):
    np.savez(tmp_path / "a.npz", first=LONG, second=SHORT)
    assert data.load(tmp_path / "a.npz", lengths="pad").event_shape == (2, 10)
    with pytest.raises(ValueError, match="if each is a series, say lengths = 'crop' or 'pad'"):
        data.load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("5.csv", "1\n2\nthree\n", r"5.csv, row 3: expected 1 numbers; got 'three'"),
        ("5.csv", "a,b\n1,2\n3\n", r"5.csv, row 3: expected 2 numbers; got '3'"),
        ("5.csv", "", r"5.csv: the file is empty"),
        ("5.csv", "1\nnan\n", r"5.csv: not finite at place 1 of channel 0"),
        ("5.npy", "no array", r"5.npy: damaged, or not numbers"),
    ],
)
def test_a_bad_file_is_named_with_the_way_out(folder, name, content, line):
    (folder / "a" / name).write_text(content)
    with pytest.raises(ValueError, match=line + r".*Leave such files out with --on-error skip"):
        data.load(folder, lengths="crop")
    with pytest.warns(UserWarning, match=r"skipped 1 of 5 files: .*" + line.split(":")[0]):
        assert len(data.load(folder, lengths="crop", on_error="skip")) == 4


def test_what_are_no_series_of_one_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="as many channels; got 1 and 2"):
        data.Series([LONG, np.stack([LONG, LONG])])
    with pytest.raises(ValueError, match="expected series; got none"):
        data.Series([])
    with pytest.raises(ValueError, match="lengths must be 'crop' or 'pad'; got 'cut'"):
        data.Series([LONG], lengths="cut")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"number 1: expected numbers \(L,\) or \(C, L\); got float64 of shape \(2, 2, 2\)"
    ):
        data.Series([LONG, np.zeros((2, 2, 2))])
    with pytest.raises(ValueError, match="expected pictures"):
        data.load(tmp_path)  # nothing in it
    with pytest.raises(FileNotFoundError):
        data.read_series(tmp_path / "none")
