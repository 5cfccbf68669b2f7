"""Scene `Your model` in a browser, with a run of digits that was trained for a second."""

import base64
import contextlib
import io
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.parse import urlencode

import pytest
from test_page import CHROMIUM, COLOURS, WIDTHS, Opened, served

import scorefield as sf

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
TASKS = ["samples", "interpolation", "likelihood", "inpainting", "sparse-view CT"]
QUICK = {"nfe": 6, "n": 5, "draws": 3}


@pytest.fixture(scope="module")
def page(digits):
    """The address of a server that has the run, and a run whose name is markup."""
    odd = digits.with_name("<img src=x onerror=alert(1)>")
    if not odd.exists():
        odd.symlink_to(digits)
    running = subprocess.Popen(
        [sys.executable, "-m", "scorefield", "play", str(digits), str(odd.absolute()), "--port", "0", "--no-open"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", running.stdout.readline())
    yield address
    running.terminate()
    running.wait(10)


@pytest.fixture
def opened(browser, page):
    """`opened("samples", at=0.5)`: the scene at a task."""
    kept = []

    def open_(task, *, seed=0, size="desktop", scheme="light", motion="reduce", **params):
        said = json.dumps({"model": {**QUICK, "task": task, **params}})
        hash_ = "#" + urlencode({"scene": "model", "seed": seed, "params": said})
        at = Opened(browser, page, size=WIDTHS[size], scheme=scheme, motion=motion, hash_=hash_)
        kept.append(at)
        return at

    yield open_
    for at in kept:
        at.context.close()


def answered(at):
    """The summary, once there is an answer."""
    at.until(
        "app.instance && document.getElementById('control-task')"
        " && !/Computing|loading|ready/.test(document.getElementById('summary').textContent)"
    )
    at.page.wait_for_timeout(100)
    return at.page.inner_text("#summary")


def pick(at, name, value):
    """Chooses it, and waits for what is asked then."""
    at.page.select_option(f"#control-{name}", value)
    at.page.wait_for_timeout(300)
    return answered(at)


def run(code):
    """What it prints; in this process, which has loaded torch."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {})
    return out.getvalue()


NUMBERS = {  # what the summary and the copied Python both say
    "samples": r"grey values of sample 1 add up to (\d+)",
    "interpolation": r"grey values of the first add up to (\d+)",
    "likelihood": r"(\d\.\d{6}) bits per dimension",
    "inpainting": r"PSNR of the mean (-?\d+\.\d{4}) dB",
    "sparse-view CT": r"mean sd (\d\.\d{6})",
}


@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_are_those_of_the_copied_python(opened, task):
    at = opened(task, seed=3, label="4", mask="random half")
    shown, code = answered(at), at.page.evaluate("app.instance.python()")
    assert at.said == []
    (number,) = re.findall(NUMBERS[task], shown)
    assert re.findall(NUMBERS[task], run(code)) == [number]


@pytest.mark.parametrize(("solver", "guidance"), [("default", 2.5), ("ddpm", 0), ("adaptive", 2.5)])
def test_guided_samples_of_any_solver_are_those_of_the_copied_python(opened, solver, guidance):
    at = opened("samples", label="2", solver=solver, guidance=guidance)
    shown, code = answered(at), at.page.evaluate("app.instance.python()")
    assert f".guided({guidance:g})" in code
    assert re.findall(NUMBERS["samples"], run(code)) == re.findall(NUMBERS["samples"], shown) != []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("size", "scheme"), [("desktop", "dark"), ("phone", "light")])
def test_every_task_shows_its_picture(opened, task, size, scheme):
    at = opened(task, size=size, scheme=scheme)
    answered(at)
    assert at.said == []
    assert at.page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[size][0]
    colours = at.page.evaluate(COLOURS)
    assert colours > 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("task", TASKS)
def test_axe_finds_nothing(opened, task, scheme):
    import axe_playwright_python

    at = opened(task, scheme=scheme)
    answered(at)
    at.page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = at.page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found["violations"]] == []


def test_controls_are_those_of_the_task_and_keep_the_focus(opened):
    at = opened("samples")
    answered(at)
    for task, has in {
        "samples": "solver",
        "interpolation": "other",
        "inpainting": "mask",
        "sparse-view CT": "views",
    }.items():
        at.page.focus("#control-task")
        pick(at, "task", task)
        assert at.page.locator(f"#control-{has}").count() == 1
        silent = "[...document.querySelectorAll('#controls .control')].filter((c) => !c.querySelector('.help'))"
        assert at.page.evaluate(f"{silent}.map((c) => c.textContent)") == []
        assert at.page.evaluate("document.activeElement.id") == "control-task"
    assert at.page.locator("#control-solver").count() == 0
    assert at.said == []


def test_a_hash_restores_the_scene(opened, browser):
    at = opened("inpainting", seed=5, mask="left half", draws=2)
    shown, hash_, picture = answered(at), at.page.evaluate("location.hash"), at.picture()
    again = Opened(browser, at.page.url.split("#")[0], motion="reduce", hash_=hash_)
    assert without_time(answered(again)) == without_time(shown)
    assert again.picture() == picture
    again.context.close()


def test_the_command_opens_the_scene_with_its_runs(opened, browser):
    at = opened("samples", seed=5, label="3")
    said = without_time(answered(at))
    with served(at.page.evaluate("app.command()")) as address, Opened(browser, address, motion="reduce") as again:
        assert without_time(answered(again)) == said


def without_time(shown):
    return re.sub(r"\d+\.\d s", "", shown)


def test_the_scrubber_walks_the_film_and_it_plays_by_itself(opened):
    at = opened("samples", at=0)
    answered(at)
    noise = at.picture()
    at.page.locator("#control-at").evaluate("(e) => { e.value = 1; e.dispatchEvent(new Event('input')); }")
    at.page.wait_for_timeout(100)
    assert at.picture() != noise
    at.page.click("#play")
    at.until("app.params.at > 0 && app.params.at < 1")  # from the beginning again
    moving = opened("samples", motion="no-preference")
    answered(moving)
    moving.until("app.params.at > 0.05 && app.params.at < 1")


def test_a_mask_is_painted_and_a_stroke_on_it_uncovers(opened):
    at = opened("inpainting")
    answered(at)
    box = at.page.locator("#canvas").bounding_box()
    before = at.page.evaluate("app.instance.python()")
    x, y = box["x"] + 20, box["y"] + 40  # the corner of the first picture, which `box` leaves visible
    at.page.mouse.move(x, y)
    at.page.mouse.down()
    at.page.mouse.move(x + 60, y, steps=8)
    at.page.mouse.up()
    at.page.wait_for_timeout(300)
    answered(at)
    assert at.page.input_value("#control-mask") == "painted"
    mask = at.page.evaluate("app.params.painted")
    covered = sum(byte.bit_count() for byte in base64.b64decode(mask))
    assert covered > 16  # the box, and more
    assert at.page.evaluate("app.instance.python()") != before
    at.page.mouse.move(x, y)
    at.page.mouse.down()
    at.page.mouse.up()
    at.page.wait_for_timeout(300)
    assert at.page.evaluate("app.params.painted") != mask
    assert re.findall(NUMBERS["inpainting"], run(at.page.evaluate("app.instance.python()"))) == re.findall(
        NUMBERS["inpainting"], answered(at)
    )
    assert at.said == []


def test_a_picture_is_chosen_or_dropped_and_what_is_none_is_said(opened, tmp_path):
    from PIL import Image

    good, bad = tmp_path / "good.png", tmp_path / "<b>bad.png"
    Image.new("L", (30, 20), 200).save(good)
    bad.write_bytes(b"no picture")
    at = opened("likelihood")
    sampled = answered(at)
    with at.page.expect_file_chooser() as chooser:
        at.page.click("#control-choose")
    chooser.value.set_files(str(good))
    at.until("document.getElementById('copied').textContent === 'good.png is taken'")
    at.page.wait_for_timeout(300)
    shown = answered(at)
    assert shown != sampled
    code = at.page.evaluate("app.instance.python()")
    assert "b64decode" in code
    assert re.findall(NUMBERS["likelihood"], run(code)) == re.findall(NUMBERS["likelihood"], shown)
    drop = """(bytes) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], '<b>bad.png', {type: 'image/png'}));
      document.getElementById('canvas').dispatchEvent(new DragEvent('drop', {dataTransfer: data}));
    }"""
    at.page.evaluate(drop, list(bad.read_bytes()))
    at.until("document.getElementById('copied').textContent.includes('no picture that this browser can read')")
    assert at.page.inner_text("#copied") == "<b>bad.png is no picture that this browser can read"
    at.page.click("#control-own")
    at.page.wait_for_timeout(300)
    assert re.findall(NUMBERS["likelihood"], answered(at)) == re.findall(NUMBERS["likelihood"], sampled)


def test_names_with_markup_are_text(opened, digits):
    at = opened("samples")
    answered(at)
    shown = pick(at, "run", "<img src=x onerror=alert(1)>")
    assert shown.startswith("<img src=x onerror=alert(1)>, samples.")
    assert at.page.locator("#summary img, form img, #python img").count() == 0
    assert at.said == []


def test_a_server_that_went_is_said(opened, browser, digits):
    program = [sys.executable, "-m", "scorefield", "play", str(digits), "--port", "0", "--no-open"]
    running = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", running.stdout.readline())
    at = Opened(browser, address, "model", motion="reduce")
    answered(at)
    running.terminate()
    running.wait(10)
    at.page.fill("#seed", "7")
    at.page.locator("#seed").press("Enter")
    at.until("document.getElementById('summary').textContent.includes('The server does not answer')")
    at.context.close()


def test_a_seed_or_a_hash_that_is_not_ours_is_taken_as_it_can_be(opened):
    junk = {"label": "nine", "solver": 3, "nfe": -1, "n": 1e9, "which": 99, "painted": "?", "picture": "???", "run": 5}
    at = opened("samples", **junk)
    assert "samples." in answered(at)
    assert at.said == []
    at = opened("inpainting", mask="painted", painted=[1], picture={"a": 1})
    assert "The mask must hide a part, neither nothing nor all." in answered(at)
    assert at.said == []


@pytest.mark.filterwarnings("ignore:.*left the data's range")
def test_tuned_samplers_are_offered(opened, digits):
    loaded = sf.load(digits)
    kept = loaded.keep(3, loaded.tune(3, paths=4))
    at = opened("samples", solver="tuned 3")
    shown, code = answered(at), at.page.evaluate("app.instance.python()")
    assert "samples. Tuned, 3 evaluations a sample" in shown
    assert re.findall(NUMBERS["samples"], run(code)) == re.findall(NUMBERS["samples"], shown)
    kept.unlink()
