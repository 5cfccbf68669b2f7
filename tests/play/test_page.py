"""The page in a browser: Debian's Chromium, driven by Playwright; the exported file and the server's, both."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from page_cases import mixture

import scorefield as sf
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
        self.page.goto(address if "#" in address else address + (hash_ or f"#scene={scene}"))
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

    def step(self, times):
        """Presses Step, and lets what is said follow."""
        self.page.evaluate("n => { for (let k = 0; k < n && app.instance.tick; k++) app.tick(); app.say(); }", times)

    def set(self, *, again=True, **params):
        """Sets controls without their sliders."""
        self.page.evaluate(
            "([p, again]) => { Object.assign(app.params, p); if (again) app.restart(); app.controls(); }",
            [params, again],
        )

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


def test_every_control_says_what_it_does_and_every_scene_where_to_read_on(browser, file):
    with Opened(browser, file, motion="reduce") as at:
        for scene in SCENES:
            at.page.evaluate("name => app.show(name)", scene)
            silent = "[...document.querySelectorAll('#controls .control')].filter((c) => !c.querySelector('.help'))"
            assert at.page.evaluate(f"{silent}.map((c) => c.textContent)") == []
            assert at.page.locator("#text math, #text table").count()
            assert at.page.locator("#text a[href^='https://'][rel='noopener noreferrer']").count()
            assert at.page.locator("#text .notation").count() == (scene in ("annealed", "paths", "race"))


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


@pytest.mark.parametrize(
    "direction", ["forward: data to noise", "reverse SDE", "probability-flow ODE", "encode, then decode"]
)
@pytest.mark.parametrize("schedule", ["VP", "sub-VP", "VE", "rectified"])
def test_paths_end_where_the_library_ends(browser, file, schedule, direction):
    """The number in the summary is printed by the Python beside it."""
    with Opened(browser, file, "paths", motion="reduce") as at:
        at.page.select_option("#control-schedule", schedule)
        at.page.select_option("#control-direction", direction)
        at.settled()
        compared(at)


def compared(at):
    """Runs the copied Python, and finds every line that it prints on the page."""
    shown = at.page.inner_text("#summary") + "\n" + at.page.text_content("#chart-summary")
    lines = run(at.page.evaluate("app.instance.python()")).strip().split("\n")
    assert [line for line in lines if line not in shown] == [], shown
    return lines


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LINES = dict(zip(SCENES, (2, 10, 2, 3, 1, 5, 4, 9, 1, 6), strict=True))  # that each scene's program prints


@pytest.mark.parametrize("scene", SCENES)
def test_copied_python_prints_the_pages_numbers(browser, file, scene):
    with Opened(browser, file, scene, motion="reduce") as at:
        if scene == "race":
            at.page.select_option("#control-solver4", "SA-Solver")
        at.settled()
        at.step(30 if scene != "train" else 8)
        assert len(compared(at)) == LINES[scene]


def test_the_command_draws_what_is_on_the_screen_or_opens_the_page_there(browser, file, tmp_path):
    laws = {"eight Gaussians": None, "eight, of unequal weights": [k / 36 for k in range(1, 9)]}
    offered = {
        "field": ("eight Gaussians", "score-field.png"),
        "paths": ("eight Gaussians", "ddpm-ddim.png"),
        "langevin": ("eight, of unequal weights", "low-density.png"),
        "annealed": ("eight, of unequal weights", "low-density.png"),
    }
    commands = {}
    with Opened(browser, file, motion="reduce") as at:
        for scene in SCENES:
            at.page.evaluate("name => app.show(name)", scene)
            assert at.page.inner_text("#copy-command") == "Copy as command"
            if scene == "model":
                continue  # on no density
            at.page.select_option("#preset", "three blobs")
            assert reopens(at)  # no other command knows that density
            for preset, weights in laws.items():
                at.page.select_option("#preset", preset)
                shown = mixture(at.page.evaluate("app.components"))
                law = sf.distributions.eight_gaussians(weights=weights, dtype=torch.float64)
                torch.testing.assert_close(
                    [shown.weights, shown.means, shown.covariances], [law.weights, law.means, law.covariances]
                )
                if not reopens(at):
                    command, name = at.page.evaluate("app.command()").split("  # ")
                    assert offered[scene] == (preset, name)
                    commands[scene] = command
    assert commands.keys() == offered.keys()
    (command,) = set(commands.values())
    words = [sys.executable, "-m", *command.split(), "--out", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    assert {name for _, name in offered.values()} < {path.name for path in tmp_path.iterdir()}


def reopens(at):
    return at.page.evaluate("app.command()") == f'scorefield play --at "{at.page.evaluate("location.hash")}"'


def test_the_command_opens_the_page_as_it_is(browser, file):
    with Opened(browser, file, "guidance", motion="reduce") as at:
        at.page.select_option("#preset", "eight Gaussians")
        at.page.fill("#seed", "7")
        at.page.locator("#seed").press("Enter")
        at.settled()
        (command, hash_), picture = at.page.evaluate("[app.command(), location.hash]"), at.picture()
    with served(command) as address, Opened(browser, address, motion="reduce") as again:
        assert again.page.evaluate("location.hash") == hash_
        again.settled()
        assert again.picture() == picture


@contextlib.contextmanager
def served(command):
    """The address that a copied `scorefield play` prints."""
    words = [sys.executable, "-m", *shlex.split(command), "--port", "0", "--no-open"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    (address,) = re.findall(r"the playground is at (http://127\.0\.0\.1:\d+/#\S+) \(Ctrl-C", running.stdout.readline())
    yield address
    running.terminate()
    running.wait(10)


@pytest.mark.parametrize(
    ("dimensions", "temperature", "test"),
    [("2", 0, False), ("2", 0.5, False), ("2", 1.5, True), ("64", 0.5, False), ("64", 1, True), ("1000", 1, True)],
)
def test_langevin_is_the_librarys(browser, file, dimensions, temperature, test):
    """At any temperature, with and without the Metropolis test, and when the step is changed on the way."""
    with Opened(browser, file, "langevin", motion="reduce") as at:
        at.page.select_option("#control-dimensions", dimensions)
        at.set(temperature=temperature, mala=test, step=0.01 if dimensions == "2" else 0.002, start="one point")
        at.step(20)
        assert len(compared(at)) == 2 + (test and temperature > 0)
        at.set(again=False, convention="ε s + √(2ε) z")
        at.step(10)
        compared(at)


@pytest.mark.parametrize("scene", ["langevin", "annealed", "paths", "race", "theory"])
def test_copied_python_trains_the_network_that_the_page_shows(browser, file, scene):
    """And a page opened at the address trains it again."""
    hash_ = f"#scene={scene}&params=%7B%22train%22:%7B%22use%22:true,%22steps%22:25,%22width%22:16%7D%7D"
    with Opened(browser, file, motion="reduce", hash_=hash_) as at:
        at.until("app.usesLearned")
        at.settled()
        assert at.page.inner_text("#summary").startswith("The field is the learned one.")
        at.step(10)
        compared(at)


@pytest.mark.parametrize("scene", ["field", "matching", "guidance"])
def test_copied_python_says_where_a_scene_does_not_use_the_network(browser, file, scene):
    hash_ = f"#scene={scene}&params=%7B%22train%22:%7B%22use%22:true,%22steps%22:1%7D%7D"
    with Opened(browser, file, scene="langevin", motion="reduce") as at:
        at.page.evaluate("h => { location.hash = h; }", hash_.replace(scene, "langevin", 1))
        at.until("app.usesLearned")
        at.page.evaluate("name => app.show(name)", scene)
        at.settled()
        assert "learned one" not in at.page.inner_text("#summary")
        assert "exact field: this scene does not use the learned one" in at.page.evaluate("app.instance.python()")


def test_particles_end_on_the_shell_and_not_at_the_mode(browser, file):
    """Started at a point near the modes, in 64 dimensions; within 5 standard errors of 500 distances."""
    with Opened(browser, file, "langevin", motion="reduce") as at:
        at.page.select_option("#control-dimensions", "64")
        at.set(start="one point", below="distance from the mode", step=0.02, mala=True)
        begun = distances(at)
        at.step(600)
        mean, exact, shell = distances(at)
        assert begun[0] < 0.6 * exact
        assert exact == pytest.approx(shell, rel=0.01)
        assert mean == pytest.approx(exact, abs=5 * shell / (2 * 64 * 500) ** 0.5)


def distances(at):
    said = at.page.text_content("#chart-summary")
    pattern = r"Mean distance from the mode ([0-9.]+); of the density ([0-9.]+); s√d = ([0-9.]+)"
    return [float(v) for v in re.findall(pattern, said)[0]]


def test_a_strangers_link_trains_no_giant(browser, file):
    params = (
        "%7B%22train%22:%7B%22use%22:true,%22width%22:1e9,%22steps%22:1e9,%22of%22:[-1,[[1]]],%22objective%22:7%7D%7D"
    )
    with Opened(browser, file, motion="reduce", hash_=f"#scene=langevin&params={params}") as at:
        at.until("app.learning")
        assert at.page.evaluate("app.learning.net.width") == 48
        at.page.click("#control-fail")
        at.until("!app.learning")
        assert "learned" not in at.page.inner_text("#summary")
        assert at.said == []


def test_the_learned_scores_error_is_larger_between_the_modes(browser, file):
    with Opened(browser, file, "langevin", motion="reduce") as at:
        at.page.click("#control-fail")
        at.page.click("#control-learn")
        at.until("app.usesLearned")
        said = at.page.text_content("#chart-summary")
        on, between = map(float, re.findall(r": ([0-9.]+) on the data, ([0-9.]+) between the modes", said)[0])
        assert on < 0.5 < between


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
