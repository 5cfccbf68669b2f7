"""What a frame of the playground costs in headless Chromium, scene by scene; and the pictures of the documentation.

    python benchmarks/playground.py [--pictures docs/images] [--seconds 6] [--run build/figures/quickstart]

A frame's work is what the page's own clock says from its beginning to its end, drawing included, 1280 x 900, on the
exported file. At 60 frames a second there are 16.7 ms for it; the first 30 frames are left out. With --run the scene
`Your model` is shown too, by a server that has the run.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

from scorefield.play.export import page

SCENES = ("field", "matching", "langevin", "annealed", "paths", "race", "guidance", "train", "theory")
PAGES = {scene: f"scene={scene}" for scene in SCENES}
for d in ("64", "1000"):
    chosen = {"langevin": {"dimensions": d, "below": "distance from the mode"}}
    PAGES[f"shell-{d}"] = "scene=langevin&params=" + quote(json.dumps(chosen))
ENDS = {  # what moves is shown as it ends
    "paths": "app.params.at = 0.9; app.controls()",
    "race": "app.restart(); for (let k = 0; k < 125; k++) app.tick()",
}
OF_RUN = "scene=model&params=" + quote(json.dumps({"model": {"task": "sparse-view CT", "views": 4, "noise": 0.02}}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder for play-SCENE.png")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--run", type=Path, help="a run of pictures, for the scene Your model")
    args = parser.parse_args()
    print("| scene | frames | median, ms | 95th percentile, ms |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        file.write_text(page(), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shown = {scene: f"{file.as_uri()}#{address}" for scene, address in PAGES.items()}
        if args.run:
            command = [sys.executable, "-m", "scorefield", "play", str(args.run), "--port", "0", "--no-open"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert server.stdout is not None
            (address,) = re.findall(r"http://\S+", server.stdout.readline())
            shown["model"] = f"{address}#{OF_RUN}"
        for scene, address in shown.items():
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(address)
            tab.wait_for_timeout(1000 * args.seconds)
            frames = sorted(tab.evaluate("app.frames.slice(30)") or tab.evaluate("app.frames"))
            middle, high = frames[len(frames) // 2], frames[int(0.95 * (len(frames) - 1))]
            print(f"| {scene} | {len(frames)} | {middle:.1f} | {high:.1f} |", flush=True)
            if args.pictures:
                if scene in ENDS:
                    tab.evaluate(f"(() => {{ app.play(false); {ENDS[scene]}; app.changed(); }})()")
                    tab.wait_for_timeout(1000)
                tab.screenshot(path=args.pictures / f"play-{scene}.png")
            tab.close()
        browser.close()
        if args.run:
            server.terminate()


if __name__ == "__main__":
    main()
