"""What the literature says of score-based models, measured: docs/claims.md and its pictures, by one command.

    OMP_NUM_THREADS=1 python benchmarks/claims.py [--only straight_paths ...] [--comparison runs/compare-25-gaussians]

Claims with exact scores need no training; the others train small networks in the plane, and read a comparison, which
`scorefield compare` makes and this goes on with. Results are kept in benchmarks/out/claims.json by function, so that
`--only` makes some anew and leaves the rest.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import _claims_exact
import _claims_trained
from _claims import Claim
from scorefield.comparison import compare, write

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "out"
PICTURES = ROOT / "docs" / "images"

HEAD = """# What is said, and what is measured

Every row is made by `python benchmarks/claims.py`; a number with ± has its standard error over seeds beside it. Where
the score is exact nothing is trained, and what is seen is the method alone. `scorefield compare` makes the numbers of
the last table, and a page of its own with every method and seed; it takes `digits`, `mnist` and `fashion` too, and goes
on where it was stopped.

"""
PICTURED = {
    "claims-steps.png": "DDIM and DDPM with an exact score, by steps",
    "claims-straight.png": "Euler on the rectified path and DDIM on VP, exact scores",
    "claims-targets.png": "The variance of each target given x_t",
    "claims-langevin.png": "Langevin's bias by step and dimension, and its mixing over a barrier",
    "claims-bounds.png": "KL and TV against the score's error and the step",
    "claims-saturation.png": "Guided digits from exact scores, w = 1, 2, 5, 10, 15",
    "claims-density.png": "The error of a learned score against the density",
    "claims-comparison.png": "Samples of each method's worst seed, lost modes ringed",
    "claims-seeds.png": "Every seed of every method",
}


def page(found: dict[str, list[Claim]]) -> str:
    """The page of the claims, by section."""
    sections = (
        ("With exact scores", [f.__name__ for f in _claims_exact.CLAIMS]),
        ("Learned, one seed each", [f.__name__ for f in _claims_trained.CLAIMS]),
        ("Beside a VAE and GANs", ["compared"]),
    )
    text = HEAD
    for title, names in sections:
        rows = [row for name in names for row in found.get(name, [])]
        if not rows:
            continue
        text += f"## {title}\n| claim | measured | verdict |\n| --- | --- | --- |\n"
        text += "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
        text += "\n"
    pictures = [f"![{what}](images/{name})" for name, what in PICTURED.items() if (PICTURES / name).is_file()]
    return text + "## Pictures\n" + "\n\n".join(pictures) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="these functions, and the page of what is known")
    parser.add_argument("--comparison", type=Path, default=OUT / "compare-25-gaussians")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the processor, for each network there")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    OUT.mkdir(exist_ok=True)
    kept = OUT / "claims.json"
    there = json.loads(kept.read_text()) if kept.is_file() else {}
    found = {name: [Claim(*row) for row in rows] for name, rows in there.items()}
    functions = {f.__name__: f for f in (*_claims_exact.CLAIMS, *_claims_trained.CLAIMS)}
    for name in args.only or [*functions, "compared"]:
        began = time.perf_counter()
        if name == "compared":
            study = compare(args.comparison, seconds=args.seconds, samples=1500, evaluations=300, say=print)
            write(study)
            for picture, own in (("samples", "comparison"), ("seeds", "seeds")):
                (PICTURES / f"claims-{own}.png").write_bytes((args.comparison / f"{picture}.png").read_bytes())
            found[name] = _claims_trained.compared(study)
        else:
            found[name] = functions[name](PICTURES)
        kept.write_text(json.dumps(found, indent=1))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        for row in found[name]:
            print("  " + "\n    ".join(row), flush=True)
    (ROOT / "docs" / "claims.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
