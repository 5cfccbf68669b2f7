"""The page in a browser: Debian's Chromium, driven by Playwright; the exported file and the server's, both."""

import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from scorefield.play.export import page as exported
from scorefield.play.server import listening

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
SCENES = ("field", "matching", "langevin", "annealed", "paths", "race", "guidance", "train", "model", "theory")
COLOURS = """(() => {  // how many different ones a sample of the picture has
  const canvas = document.getElementById('canvas'), seen = new Set();
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 0; i < data.length; i += 400) seen.add(data.slice(i, i + 4).join());
  return seen.size;
})()"""
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "page.html"
    path.write_text(exported(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def server():
    held, ready = listening(0), threading.Event()
    port = held.getsockname()[1]
    program = (
        "import socket, sys; from scorefield.play.server import serve; serve(socket.socket(fileno=int(sys.argv[1])))"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(held.fileno())], pass_fds=[held.fileno()])
    held.listen()
    held.close()
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()
            ready.set()
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    assert ready.is_set()
    yield f"http://127.0.0.1:{port}/"
    running.terminate()
    running.wait(10)


class Opened:
    """A page at a scene, offline, and what its console said."""

    def __init__(
        self, browser, address, scene="field", size=(1280, 900), scheme="light", motion="no-preference", hash_=""
    ):
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion=motion,
            offline=address.startswith("file:"),
        )  # fmt: skip
        self.page, self.said = self.context.new_page(), []
        self.page.on("console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.goto(address + (hash_ or f"#scene={scene}"))
        self.until("window.app && app.frames.length > 1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def until(self, expression):
        """Waits for it to be true. Playwright's own way is an `eval`, which the page's policy forbids."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{expression} is not true after ten seconds; console: {self.said}")

    def picture(self):
        return self.page.evaluate("document.getElementById('canvas').toDataURL()")

    def settled(self):
        """Once plans have come and something was computed from them."""
        self.until("!document.getElementById('summary').textContent.includes('loading')")
        return self.page.inner_text("#summary")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_loads_without_a_word_in_the_console(browser, file, scene, size, scheme, motion):
    with Opened(browser, file, scene, size, scheme, motion) as at:
        at.settled()
        assert at.said == []
        assert at.page.evaluate("app.scene.id") == scene
        assert at.page.evaluate("document.documentElement.dataset.theme") == scheme
        width = at.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]  # nothing sticks out to the side
        assert at.page.evaluate("app.playing") == (motion != "reduce")  # and what moves can be started by hand
        colours = at.page.evaluate(COLOURS)
        assert colours > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scene", SCENES)
def test_axe_finds_nothing(browser, file, scene, scheme):
    import axe_playwright_python

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    with Opened(browser, file, scene, scheme=scheme, motion="reduce") as at:
        at.settled()
        at.page.evaluate(axe)
        found = at.page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
        told = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found["violations"]]
        assert told == []


def test_a_slider_moves_the_picture(browser, file):
    with Opened(browser, file, "field", motion="reduce") as at:
        before = at.picture()
        at.page.locator("#control-sigma").evaluate(
            "(e) => { e.value = Math.log(2); e.dispatchEvent(new Event('input')); }"
        )
        at.page.wait_for_timeout(200)
        assert at.picture() != before
        assert re.search(r"noise 2\.0\d:", at.page.inner_text("#summary"))  # the slider's own steps


def test_a_component_is_dragged_moved_by_keys_and_in_the_table(browser, file):
    with Opened(browser, file, "field", motion="reduce") as at:
        canvas = at.page.locator("#canvas").bounding_box()
        middle = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
        unit = at.page.evaluate("app.view.scale / app.view.ratio")
        at.page.mouse.move(middle[0] + unit, middle[1] - 0.3 * unit)
        at.page.mouse.down()
        at.page.mouse.move(middle[0], middle[1], steps=3)
        at.page.mouse.up()
        assert at.page.evaluate("app.components[0].m") == pytest.approx([0, 0], abs=0.01)
        at.page.locator("#canvas").press("ArrowRight")
        assert at.page.evaluate("app.components[0].m[0]") == pytest.approx(0.05, abs=0.01)
        cell = at.page.locator("[aria-label='y of component 1']")
        cell.fill("1.5")
        cell.press("Enter")
        assert at.page.evaluate("app.components[0].m[1]") == 1.5
        cell = at.page.locator("[aria-label='sd 1 of component 1']")
        cell.fill("-3")
        cell.press("Enter")
        assert at.page.evaluate("app.components[0].c[0]") > 0  # refused, and as it was
        at.page.click("#add")
        assert at.page.evaluate("app.components.length") == 4
        at.page.click("[aria-label='Remove component 4']")
        assert at.page.evaluate("app.components.length") == 3


def test_a_dropped_file_becomes_its_kernel_density_and_a_bad_one_a_line(browser, file, tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("x,y\n" + "\n".join(f"{i},{i * i}" for i in range(50)))
    bad.write_text("nothing,here\n")
    with Opened(browser, file, "field", motion="reduce") as at:
        at.page.set_input_files("#csv", str(good))
        at.until("app.components.length === 50")
        at.page.set_input_files("#csv", str(bad))
        at.until("document.getElementById('copied').textContent.includes('expected rows')")
        assert at.said == []


def test_a_hash_restores_what_was_on_the_screen(browser, file):
    with Opened(browser, file, "langevin", motion="reduce") as at:
        at.page.select_option("#preset", "eight Gaussians")
        at.page.fill("#seed", "7")
        at.page.locator("#seed").press("Enter")
        at.page.locator("#control-step").evaluate(
            "(e) => { e.value = Math.log(0.1); e.dispatchEvent(new Event('input')); }"
        )
        hash_, picture = at.page.evaluate("location.hash"), at.picture()
    with Opened(browser, file, motion="reduce", hash_=hash_) as again:
        assert again.page.evaluate("location.hash") == hash_
        assert again.page.evaluate("[app.seed, app.components.length]") == [7, 8]
        again.page.wait_for_timeout(100)
        assert again.picture() == picture


@pytest.mark.parametrize(
    "hash_", ["#scene=none&seed=-1&components=[[1]]", "#components=%7B&params=[1]", "#%F0%28%8C%28", "#seed=1e99"]
)
def test_a_hash_that_is_not_ours_is_a_fresh_page(browser, file, hash_):
    with Opened(browser, file, hash_=hash_) as at:
        assert at.said == []
        assert at.page.evaluate("[app.scene.id, app.seed, app.components.length]") == ["field", 0, 3]


@pytest.mark.parametrize("direction", ["reverse SDE", "probability-flow ODE"])
@pytest.mark.parametrize("schedule", ["VP", "sub-VP", "VE", "rectified"])
def test_paths_end_where_the_library_ends(browser, file, schedule, direction):
    """The number in the summary is printed by the Python beside it."""
    with Opened(browser, file, "paths", motion="reduce") as at:
        at.page.select_option("#control-schedule", schedule)
        at.page.select_option("#control-direction", direction)
        shown, code = at.settled(), at.page.evaluate("app.instance.python()")
    (pair,) = re.findall(r"sample 0 ends at \(([^)]*)\)", shown)
    assert f"sample 0 ends at ({pair})" in run(code)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_race_is_the_librarys(browser, file):
    with Opened(browser, file, "race", motion="reduce") as at:
        at.page.select_option("#control-solver4", "SA-Solver")
        shown, code = at.settled(), at.page.evaluate("app.instance.python()")
    said = run(code)
    pairs = re.findall(r"^\d (\S+): .* with (\d+) evaluations, sample 0 at \(([^)]*)\)", shown, re.MULTILINE)
    assert [name for name, *_ in pairs] == ["default", "DDIM", "DDPM", "SA-Solver"]
    for name, nfe, pair in pairs:
        assert f"{name}: {nfe} evaluations, sample 0 at ({pair})" in said


@pytest.mark.parametrize("scene", SCENES)
def test_copied_python_runs(browser, file, scene):
    with Opened(browser, file, scene, motion="reduce") as at:
        at.settled()
        assert run(at.page.evaluate("app.instance.python()")).strip()


def test_the_score_fields_numbers_are_the_librarys(browser, file):
    with Opened(browser, file, "field", motion="reduce") as at:
        shown, code = at.page.inner_text("#summary"), at.page.evaluate("app.instance.python()")
    density, first, second = re.findall(r"log-density (\S+), score \((\S+), (\S+)\)", shown)[0]
    assert run(code).split("\n")[:2] == [f"log-density {density}", f"score ({first}, {second})"]


def test_frames_are_fast_enough(browser, file):
    """What 2,000 particles cost: the work of a frame, median; no clock is judged, only that there is a number."""
    with Opened(browser, file, "langevin") as at:
        at.until("app.frames.length > 30")
        frames = sorted(at.page.evaluate("app.frames"))
        assert frames[len(frames) // 2] > 0


def test_the_export_is_small_and_asks_for_nothing(browser, file):
    path = Path(file.removeprefix("file://"))
    assert path.stat().st_size < 1e6
    asked = []
    context = browser.new_context()
    page = context.new_page()
    page.on("request", lambda r: asked.append(r.url))
    page.goto(file)
    page.wait_for_timeout(500)
    context.close()
    assert asked == [file]


@pytest.mark.parametrize("scene", ["field", "race"])
def test_the_server_shows_the_same_page(browser, server, scene):
    with Opened(browser, server, scene) as at:
        at.settled()
        assert at.said == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {}, 200),
        ("exact.js", {}, 200),
        ("", {"Host": "evil.example"}, 403),
        ("", {"Host": "127.0.0.1:1"}, 403),
        ("../plans.py", {}, 404),
        ("%2e%2e/plans.py", {}, 404),
        ("scenes/none.js", {}, 404),
    ],
)
def test_the_server_answers_its_own_page_and_no_other(server, path, headers, status):
    request = urllib.request.Request(server + path, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            got, said = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        got, said = error.code, error.headers
    assert got == status
    assert "access-control-allow-origin" not in said
    if status == 200:
        assert "default-src 'none'" in said["content-security-policy"]


def test_a_port_that_is_taken_is_named():
    held = listening(0)
    held.listen()
    with pytest.raises(ValueError, match=r"--port \d+: Address already in use; another one may be free"):
        listening(held.getsockname()[1])
    held.close()
