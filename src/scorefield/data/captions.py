"""Captions of MNIST and Fashion-MNIST: what a person might call each of their twenty classes.

`TRAINING` is what a model is shown, `UNSEEN` says the same in words it is not: they share no caption, and most of the
nouns of the clothes differ. What a model does with them is what its text encoder knows of their meaning.
"""

from __future__ import annotations

import os

import torch

from scorefield.data.published import Part, named
from scorefield.data.sources import Arrays

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_DIGIT_TRAINING = (
    "a handwritten {word}", "the digit {word}", "a {word} written with a pen", "handwriting of the number {word}",
    "the number {numeral} in ink", "a scan of the digit {numeral}",
)  # fmt: skip
_DIGIT_UNSEEN = (
    "the number {numeral} written by hand", "somebody wrote a {word} on paper", "a hand-drawn {numeral}",
    "the numeral {word}, in pencil",
)  # fmt: skip

_CLOTHES = (
    ("a t-shirt", "a top with short sleeves"),
    ("trousers", "a pair of pants"),
    ("a pullover", "a knitted sweater"),
    ("a dress", "a woman's dress"),
    ("a coat", "a warm winter coat"),
    ("a sandal", "an open summer shoe"),
    ("a shirt", "a button-up shirt"),
    ("a sneaker", "a running shoe"),
    ("a bag", "a handbag"),
    ("an ankle boot", "a leather boot"),
)
_CLOTHES_TRAINING = ("{noun}", "a picture of {noun}", "a black and white photo of {noun}", "{noun} in a catalogue")
_CLOTHES_UNSEEN = (
    ("a plain tee", "a tee shirt for hot days", "short-sleeved cotton top", "a casual tee to wear with jeans"),
    ("a pair of slacks", "long jeans", "chinos for men", "something to wear on both legs"),
    ("a woolly jumper", "a cosy sweatshirt", "a long-sleeved knit", "a sweater to pull over your head"),
    ("an evening gown", "a sleeveless frock", "what a bride wears", "a lady's gown for a party"),
    ("a jacket for the cold", "an overcoat", "a parka", "outerwear with long sleeves and a zip"),
    ("a flip-flop", "footwear with straps for the beach", "strappy high heels", "a shoe that shows the toes"),
    ("a blouse", "a formal shirt with a collar", "office clothing with cuffs", "a long-sleeved button-down"),
    ("a trainer", "a sports shoe", "a tennis shoe with laces", "athletic footwear"),
    ("a purse", "a leather satchel", "a tote with handles", "something to carry your things in"),
    ("a short boot for women", "a bootie", "a high-top boot with a heel", "winter footwear that covers the ankle"),
)

NAMES = (
    *(f"digit {word}" for word in _DIGITS),
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
"""Of the twenty classes: MNIST's ten, then Fashion-MNIST's."""


def _of_digits(templates: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(t.format(word=word, numeral=n) for t in templates) for n, word in enumerate(_DIGITS))


TRAINING: tuple[tuple[str, ...], ...] = _of_digits(_DIGIT_TRAINING) + tuple(
    tuple(template.format(noun=noun) for noun in nouns for template in _CLOTHES_TRAINING) for nouns in _CLOTHES
)
"""Six captions for each digit, eight for each piece of clothing."""

UNSEEN: tuple[tuple[str, ...], ...] = _of_digits(_DIGIT_UNSEEN) + _CLOTHES_UNSEEN
"""Four paraphrases for each class, none of them in `TRAINING`."""


def digits_and_clothes(*, data_dir: str | os.PathLike[str] | None = None, split: Part = "train") -> Arrays:
    """MNIST, then Fashion-MNIST, with twenty classes: 120,000 images to train, 20,000 to test.

    Raises:
        FileNotFoundError: in one line, which set is not here and how to fetch it.
    """
    parts = [named(name, data_dir=data_dir, split=split) for name in ("mnist", "fashion")]
    label = torch.cat([part.cond["label"] + 10 * k for k, part in enumerate(parts)])
    return Arrays(torch.cat([part.x for part in parts]), label, class_names=NAMES)
