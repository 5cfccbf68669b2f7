"""A folder of photographs of every kind people have, some of them broken: trained, sampled, reported, and read back."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from scorefield import data

SIDE = 96
SMALL = ("network.width=8", "training.batch_size=8", "optim.warmup=2", "optim.optimizer=AdamW", "training.bf16=false")


def cut():
    """Crops (96, 96, 3) of scikit-learn's two photographs, none twice."""
    china, flower = load_sample_images().images
    places = [(y, x) for y in range(0, 427 - SIDE, 36) for x in range(0, 640 - SIDE, 54)]
    return [picture[y : y + SIDE, x : x + SIDE] for picture in (china, flower) for y, x in places]


def rgba(path, crop):
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, :48] = 64
    Image.fromarray(np.dstack([crop, alpha])).save(path.with_suffix(".png"))
    blended = crop * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)  # over white
    return blended, 1.0


def palette(path, crop):
    image = Image.fromarray(crop).quantize(200)
    image.save(path.with_suffix(".png"))
    return np.asarray(image.convert("RGB")), 0.0


def cmyk(path, crop):
    image = Image.fromarray(crop).convert("CMYK")
    image.save(path.with_suffix(".tif"))
    return crop, 0.0  # C = 255 - R and no black: nothing is lost


def wide(path, crop):
    grey = (crop.astype(int).sum(2) * 85).astype(np.uint16)  # 0 .. 65,025
    Image.fromarray(grey).save(path.with_suffix(".png"))
    return np.repeat(np.round(grey / 257)[..., None], 3, 2), 0.0


def rotated(path, crop):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown after a quarter turn clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(crop))).save(path.with_suffix(".png"), exif=exif)
    return crop, 0.0


def gif(path, crop):
    image = Image.fromarray(crop).quantize(256)
    image.save(path.with_suffix(".gif"))
    return np.asarray(image.convert("RGB")), 0.0


def webp(path, crop):
    Image.fromarray(crop).save(path.with_suffix(".webp"), lossless=True)
    return crop, 0.0


def jpeg(path, crop):
    Image.fromarray(crop).save(path.with_suffix(".jpg"), quality=95, subsampling=0)
    return crop, 40.0  # lossy: in the mean far less


KINDS = (rgba, palette, cmyk, wide, rotated, gif, webp, jpeg)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder's parent, and what every readable picture in it is to be, by its file's stem."""
    top = tmp_path_factory.mktemp("mixed")
    photos = top / "photos"
    photos.mkdir()
    expected = {}
    for i, crop in enumerate(cut()):
        expected[f"{i:03d}"] = KINDS[i % len(KINDS)](photos / f"{i:03d}", crop)
    whole = next(photos.glob("*.jpg")).read_bytes()
    (photos / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.png").touch()
    (photos / "text.png").write_text("no picture")
    (photos / "notes.txt").write_text("not looked at")
    return top, expected


def test_every_kind_is_read_as_the_numbers_it_holds(folder):
    top, expected = folder
    with pytest.warns(UserWarning, match="skipped 3 of 223 pictures"):
        source = data.ImageFolder(top / "photos", on_error="skip")
    assert (len(source), source.event_shape) == (len(expected), (3, SIDE, SIDE)) == (220, (3, 96, 96))
    for file, x in zip(source.files, source.batch(torch.arange(len(source))).x, strict=True):
        wanted, apart = expected[file.stem]
        off = np.abs(x.numpy().transpose(1, 2, 0).astype(float) - wanted)
        assert off.max() <= apart, file
        assert off.mean() < 3, file


def test_a_bad_file_is_named_with_the_way_out(refused, folder):
    top, _ = folder
    line = refused("train", "--preset", "photos", "--data", top / "photos", "--out", "run")
    assert re.search(r"(empty|text|truncated)\.(png|jpg): ", line)
    assert "Leave such files out with --on-error skip" in line


def test_the_three_commands_end_with_colour(folder, invoke):
    """Trained for six steps, so nothing of the samples but their kind: 64 x 64, in colour, over the whole range."""
    top, _ = folder
    changes = [x for change in SMALL for x in ("--set", change)]
    done = invoke(
        top, "train", "--preset", "photos", "--data", top / "photos", "--set", "data.policy.on_error=skip", *changes,
        "--set", "logging.sample_every=3", "--steps", 6, "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = invoke(top, "sample", "run", "--n", 4, "--nfe", 5, "--out", "s.png")
    assert done.returncode == 0, done.stderr
    with np.load(top / "s.npz") as kept:
        raw = kept["raw"]
    assert raw.shape == (4, 3, 64, 64)
    assert 0 <= raw.min() < 60 < 195 < raw.max() <= 255
    shown = Image.open(top / "s.png")
    assert shown.mode == "RGB"  # no palette for pictures in colour
    assert shown.info["Command"] == "scorefield sample run --n 4 --nfe 5 --out s.png"
    done = invoke(top, "report", "run", "--n", 24)
    assert (done.returncode, done.stdout) == (0, "run/report.html\n"), done.stderr
    page = (top / "run" / "report.html").read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Samples beside data", "Training", "Nearest training data", "Error by noise level",
        "Samples after 3 steps", "Samples after 6 steps",
    ]  # fmt: skip
    assert "24 generated pictures beside 24 real ones, 64 by 64 pixels." in page
