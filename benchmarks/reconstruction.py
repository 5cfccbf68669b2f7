"""Reconstruction with trained priors: digits, phantoms and photographs, against the classical methods.

    OMP_NUM_THREADS=1 python benchmarks/reconstruction.py mnist --run runs/mnist --data-dir DIR
    OMP_NUM_THREADS=1 python benchmarks/reconstruction.py phantoms --run runs/phantoms
    OMP_NUM_THREADS=1 python benchmarks/reconstruction.py photographs --run runs/patches

Needs scikit-image. Each study prints its tables, writes benchmarks/out/reconstruction-STUDY-TASK.json, and draws its
pictures into docs/images. One prior serves all tasks of a study: it knows nothing of any operator. What a method has to
choose (the weight of total variation, widths) is chosen by squared error on other pictures than are reported, for each
task. PSNR, SSIM and chi^2 are of the reconstruction, the mean of the posterior's 19 draws; one draw is its own row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import _digits_study
import _phantoms_study
import _photographs_study

STUDIES = {
    "mnist": _digits_study.study,
    "phantoms": _phantoms_study.study,
    "photographs": _photographs_study.study,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--run", type=Path, required=True, help="the prior: a run folder of `scorefield train`")
    parser.add_argument("--nfe", type=int, default=50, help="network evaluations of a draw")
    parser.add_argument("--count", type=int, default=0, help="pictures; the study's own number unless given")
    parser.add_argument("--only", default="", help="tasks whose name has this in it; pictures show all that were run")
    parser.add_argument("--data-dir", type=Path, help="where mnist lies")
    args = parser.parse_args()
    torch.set_num_threads(1)
    STUDIES[args.study](args)


if __name__ == "__main__":
    main()
