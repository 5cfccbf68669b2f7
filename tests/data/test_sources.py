"""A source gives the rows that were asked for, raw, whatever it is made of."""

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield import data

ROWS = torch.tensor([3, 0, 3, 1])


class Pairs:
    """A map-style data set of (array, label)."""

    def __init__(self, x, labels, classes=()):
        self.x, self.labels, self.classes = x, labels, classes

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.labels[i]


class Items(list):
    """A map-style data set of anything."""


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels():
    return torch.tensor([2, 0, 1, 1, 2])


@pytest.fixture(params=["arrays", "pairs", "mappings", "pictures", "numpy", "in memory"])
def source(request, images, labels):
    """The same five images, in every form."""
    pil = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in images]
    return {
        "arrays": lambda: data.Arrays(images, labels),
        "pairs": lambda: data.Mapped(Pairs(images, labels, "abc")),
        "mappings": lambda: data.Mapped(
            Items({"image": x, "label": int(c)} for x, c in zip(images, labels, strict=True)), num_classes=3, x="image"
        ),
        "pictures": lambda: data.Mapped(Pairs(pil, labels.tolist()), num_classes=3),
        "numpy": lambda: data.Mapped(Pairs(images.numpy(), labels.numpy()), num_classes=3),
        "in memory": lambda: data.in_memory(data.Mapped(Pairs(images, labels, "abc"))),
    }[request.param]()


def test_every_form_of_the_same_images_is_the_same_source(source, images, labels):
    assert isinstance(source, data.Source)
    assert (len(source), source.event_shape, source.levels, source.num_classes) == (5, (3, 4, 6), 256, 3)
    batch = source.batch(ROWS)
    assert batch.x.dtype == torch.uint8
    assert torch.equal(batch.x, images[ROWS])
    assert batch.cond["label"].dtype == torch.int64
    assert torch.equal(batch.cond["label"], labels[ROWS])


def test_no_rows_keep_shapes_and_types(source):
    none, some = source.batch(torch.tensor([], dtype=torch.int64)), source.batch(ROWS)
    assert none.x.shape == (0, *source.event_shape)
    assert none.x.dtype == some.x.dtype
    assert none.cond["label"].shape == (0,)


@pytest.mark.parametrize("rows", [torch.tensor([5]), torch.tensor([-1]), torch.tensor([0.0]), torch.tensor(1)])
def test_rows_that_are_not_there_are_refused(source, rows):
    with pytest.raises(ValueError, match="rows must"):
        source.batch(rows)


def test_conditions_of_any_name_go_with_their_rows():
    x, angle = torch.arange(8.0).reshape(4, 2), torch.arange(12.0).reshape(4, 3)
    batch = data.Arrays(x, cond={"angle": angle}).batch(ROWS)
    assert torch.equal(batch.cond["angle"], angle[ROWS])
    mapped = data.Mapped(Items({"x": a, "angle": b} for a, b in zip(x, angle, strict=True)))
    assert mapped.num_classes is None
    assert torch.equal(mapped.batch(ROWS).cond["angle"], angle[ROWS])


def test_continuous_data_become_float32_and_integers_keep_their_levels():
    assert data.Arrays(torch.zeros(2, 3, dtype=torch.float64)).x.dtype == torch.float32
    assert data.Arrays(torch.tensor([[-3], [5]])).levels is None
    sixteen = data.Arrays(torch.from_numpy(np.array([[0], [65535]], np.uint16)))
    assert sixteen.levels == 65536
    assert sixteen.batch(torch.tensor([1])).x.tolist() == [[65535]]
    assert data.Arrays(torch.tensor([[0], [16]]), levels=17).levels == 17
    bare = data.Mapped(Items([torch.zeros(3, dtype=torch.float64)]))
    assert bare.batch(torch.tensor([0])).x.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(0, 2), {}, "not empty; got shape \\(0, 2\\)"),
        (torch.tensor([[0.0, float("nan")]]), {}, "finite in float32; 1 entries are not"),
        (torch.tensor([[1e39]], dtype=torch.float64), {}, "finite in float32"),
        (torch.tensor([[17]]), {"levels": 17}, r"0\.\.16; got 17\.\.17"),
        (torch.tensor([[0.5]]), {"levels": 2}, "must hold integers; got torch.float32"),
        (torch.zeros(2, 1), {"label": torch.tensor([0])}, "label must have one row for each of the 2"),
        (torch.zeros(2, 1), {"label": torch.tensor([0, -1])}, "label must not be negative; got -1"),
        (torch.zeros(2, 1), {"label": torch.tensor([0, 3]), "num_classes": 3}, r"0\.\.2; got 0\.\.3"),
        (torch.zeros(2, 1), {"label": torch.tensor([0.0, 1.0])}, "integers; got"),
        (torch.zeros(2, 1), {"columns": ("a", "b")}, "columns must name"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        data.Arrays(x, **options)


def test_items_that_make_no_sense_are_refused_by_their_index():
    with pytest.raises(ValueError, match="must not be empty"):
        data.Mapped(Items())
    with pytest.raises(ValueError, match="pass num_classes"):
        data.Mapped(Pairs(torch.zeros(2, 1), [0, 1]))
    with pytest.raises(ValueError, match=r"dataset\[0\] has no 'x'; it has image: pass x"):
        data.Mapped(Items([{"image": torch.zeros(1)}]))
    with pytest.raises(ValueError, match="got 3 parts"):
        data.Mapped(Items([(1, 2, 3)]))
    with pytest.raises(ValueError, match="numbers; got str"):
        data.Mapped(Items(["a"]))
    ragged = data.Mapped(Items([torch.zeros(2), torch.zeros(3)]))
    with pytest.raises(ValueError, match=r"dataset\[1\] must have shape \(2,\)"):
        ragged.batch(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"dataset\[1\] has label 2; expected 0\.\.1"):
        data.Mapped(Pairs(torch.zeros(2, 1), [0, 2]), num_classes=2).batch(torch.tensor([1]))
