"""Text to image on digits and clothes: does a sample show what its caption asks for?

    scorefield train --preset captions --out RUN
    python benchmarks/captions.py RUN [--each 25] [--nfe 30]

For each of twenty classes, samples with the captions the model was trained on and with paraphrases it never saw
(`data.captions`), at guidance w = 1 (none) and w = 2. A convolutional classifier trained on the same 120,000 images
says which class each sample shows; its accuracy on the test images is the most that can be expected. The encoder alone
has a number too: how often the nearest training caption, by cosine, is of the right class.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scorefield as sf
from _mnist import OUT, Classifier
from scorefield import data, plots
from scorefield.data import captions
from scorefield.data.text import TextCondition
from scorefield.guidance import ClassifierFreeGuidance
from scorefield.recipes import text_condition
from scorefield.recipes.schema import Part
from scorefield.sampling import sample

SHOWN = (
    "a handwritten seven", "the number 7 written by hand", "the digit three", "a hand-drawn 3",
    "an ankle boot", "a short boot for women", "a handbag", "something to carry your things in",
    "trousers", "long jeans", "a dress", "an evening gown",
)  # fmt: skip


def classifier(data_dir: Path | None, epochs: int = 3, batch_size: int = 128) -> Classifier:
    """Of the twenty classes; from benchmarks/out/ where it is there."""
    path, net = OUT / "captions-classifier.safetensors", _untrained()
    if path.exists():
        net.load_state_dict(safetensors.torch.load_file(path))
        return net.eval()
    source = captions.digits_and_clothes(data_dir=data_dir)
    steps = epochs * (len(source) // batch_size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05, fused=True)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(source)).split(batch_size)[: len(source) // batch_size]:
                x, cond = source.batch(rows)
                loss = F.cross_entropy(net(x)[1], cond["label"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
    OUT.mkdir(exist_ok=True)
    safetensors.torch.save_file(net.state_dict(), path)
    return net.eval()


def _untrained() -> Classifier:
    net = Classifier()
    net.logits = nn.Linear(64, len(captions.NAMES))
    return net


@torch.no_grad()
def predictions(net: Classifier, images: Tensor) -> Tensor:
    return torch.cat([net(part)[1].argmax(1) for part in images.split(500)])


def asked(kind: tuple[tuple[str, ...], ...], each: int) -> tuple[list[str], Tensor]:
    """`each` captions of each class, in turn, and the classes."""
    texts = [own[i % len(own)] for own in kind for i in range(each)]
    return texts, torch.arange(len(kind)).repeat_interleave(each)


def encoder_alone(condition: TextCondition) -> float:
    """The share of unseen captions whose nearest training caption is of the right class."""
    seen, unseen = (
        [(t, k) for k, own in enumerate(kind) for t in own] for kind in (captions.TRAINING, captions.UNSEEN)
    )
    table, queries = (F.normalize(condition([t for t, _ in kind])["vector"], dim=1) for kind in (seen, unseen))
    nearest = (queries @ table.T).argmax(1).tolist()
    right = [seen[j][1] == k for j, (_, k) in zip(nearest, unseen, strict=True)]
    return sum(right) / len(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--each", type=int, default=25, help="samples for each class, kind of caption and w")
    parser.add_argument("--nfe", type=int, default=30, help="steps: at w other than 1, two evaluations each")
    parser.add_argument("--data-dir", type=Path)
    args = parser.parse_args()

    judge = classifier(args.data_dir)
    test = captions.digits_and_clothes(data_dir=args.data_dir, split="test")
    truth = float((predictions(judge, test.x) == test.cond["label"]).double().mean())
    loaded = sf.load(args.run)
    condition = text_condition(Part.model_validate(loaded.meta["text"]))
    assert condition is not None
    assert isinstance(loaded.transform, data.Scale)
    transform, event = loaded.transform, loaded.event_shape
    print(
        f"classifier on {len(test)} test images: {truth:.1%}; nearest training caption: {encoder_alone(condition):.1%}"
    )

    def draw(texts: list[str], weight: float) -> Tensor:
        guided = ClassifierFreeGuidance(loaded.denoiser, weight)
        drawn = sample(guided, (len(texts), *event), nfe=args.nfe, cond=condition(texts), chunk=100, progress=True)
        return transform.quantize(drawn.x)

    rows, missed = [], {}
    for weight in (1.0, 2.0):
        for name, kind in (("seen", captions.TRAINING), ("unseen", captions.UNSEEN)):
            texts, classes = asked(kind, args.each)
            right = predictions(judge, draw(texts, weight).to(torch.uint8)) == classes
            halves = [float(half.double().mean()) for half in right.split(len(right) // 2)]
            row = {"captions": name, "w": weight, "n": len(right), "digits": halves[0], "clothes": halves[1]}
            rows.append({**row, "all": float(right.double().mean())})
            print(json.dumps(rows[-1]))
            if name == "unseen":
                missed[weight] = _by_caption(texts, right)
    for text, share in sorted(missed[2.0].items(), key=lambda item: item[1])[:12]:
        print(f"  {share:5.0%}  {text}")
    OUT.mkdir(exist_ok=True)
    (OUT / "captions.json").write_text(json.dumps({"classifier": truth, "rows": rows, "unseen": missed[2.0]}, indent=1))
    images = draw([text for text in SHOWN for _ in range(8)], 2.0)
    labels = [f"{text}" for text in SHOWN]
    plots.save(_picture(images, labels), OUT / "captions.png")


def _by_caption(texts: list[str], right: Tensor) -> dict[str, float]:
    found: dict[str, list[bool]] = {}
    for text, ok in zip(texts, right.tolist(), strict=True):
        found.setdefault(text, []).append(ok)
    return {text: sum(ok) / len(ok) for text, ok in found.items()}


def _picture(images: Tensor, labels: list[str]):
    """A row of samples beside each caption."""
    fig = plots.figure(7.4, 0.52 * len(labels))
    for k, (label, row) in enumerate(
        zip(labels, images.double().div(255).split(len(images) // len(labels)), strict=True)
    ):
        low = 1 - (k + 1) / len(labels)
        ax = fig.add_axes((0.42, low, 0.57, 0.96 / len(labels)))
        ax.imshow(torch.cat(list(row[:, 0]), 1), cmap="gray_r", vmin=0, vmax=1, aspect="equal")
        ax.set_axis_off()
        fig.text(0.4, low + 0.5 / len(labels), label, ha="right", va="center", fontsize=9)
    return fig


if __name__ == "__main__":
    main()
