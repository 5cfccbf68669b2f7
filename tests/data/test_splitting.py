"""What is held out depends on what a row holds, and on nothing else."""

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield.data import Arrays, ImageFolder, in_memory, row_keys, split
from scorefield.data.sources import take
from scorefield.recipes.reading import read
from scorefield.recipes.schema import Data


def rows(n=2000, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def held(x, share=0.1, **options):
    """The held-out rows, as a set."""
    test = split(Arrays(x), share, **options).test
    assert test is not None
    return set(map(tuple, in_memory(test).x.tolist()))


def test_the_share_is_held_out_and_nothing_is_on_both_sides():
    x = rows()
    parts = split(Arrays(x, torch.arange(2000) % 7), 0.1)
    assert parts.test is not None
    assert len(parts.train) + len(parts.test) == 2000
    assert abs(len(parts.test) - 200) < 4 * (2000 * 0.1 * 0.9) ** 0.5  # binomial
    both = torch.cat([in_memory(parts.train).x, in_memory(parts.test).x])
    assert torch.equal(both.sort(0).values, x.sort(0).values)
    i = torch.tensor([5, 0])
    x0, cond = parts.test.batch(i)
    where = [int(torch.nonzero((x == row).all(1))) for row in x0]
    assert cond["label"].tolist() == [row % 7 for row in where]  # labels stay with their rows


def test_it_survives_growth_reordering_another_type_and_a_larger_share():
    x = rows()
    assert held(x.flip(0)) == held(x)
    assert held(x.double()) == held(x)
    assert held(torch.cat([x, rows(101, seed=1)])) - held(rows(101, seed=1)) == held(x)
    assert held(x) < held(x, 0.3)
    x[:, 0] = 0.0
    zeros = x.clone()
    zeros[:, 0] = -0.0
    assert np.array_equal(row_keys(Arrays(x)), row_keys(Arrays(zeros)))


def test_equal_rows_are_on_one_side():
    x = rows(300).repeat(5, 1)
    parts = split(Arrays(x), 0.2)
    assert parts.test is not None
    sides = [set(map(tuple, in_memory(part).x.tolist())) for part in (parts.train, parts.test)]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == 300
    assert len(parts.test) % 5 == 0


def test_integers_are_hashed_alike_whatever_type_holds_them():
    x = torch.randint(0, 17, (100, 1, 4, 4))
    keys = [row_keys(Arrays(x.to(kind), levels=17)) for kind in (torch.uint8, torch.int64)]
    assert np.array_equal(keys[0], keys[1])
    assert len(set(keys[0].tolist())) == 100
    i = torch.tensor([7, 3])
    assert row_keys(Arrays(x, levels=17), i).tolist() == keys[0][[7, 3]].tolist()


def test_rows_of_a_group_are_on_one_side_and_new_groups_move_none():
    x, patient = rows(), np.arange(2000) // 20  # 100 patients
    parts = split(Arrays(x, torch.from_numpy(patient)), 0.2, patient.tolist())
    assert parts.test is not None
    assert parts.groups == 100
    out = in_memory(parts.test).cond["label"]
    assert not set(out.tolist()) & set(in_memory(parts.train).cond["label"].tolist())
    assert all(int((out == p).sum()) == 20 for p in set(out.tolist()))
    more = split(Arrays(torch.cat([x, rows(seed=1)])), 0.2, [*patient.tolist(), *(["new"] * 2000)])
    assert more.test is not None
    assert len(parts.test) == len(more.test) - 2000 * (len(more.test) > 1000)


@pytest.mark.parametrize(
    ("n", "share", "groups", "why"),
    [
        (40, 0.1, None, "40 rows are too few to hold out 10%"),
        (2000, 0.0, None, "data.held_out = 0"),
        (2000, 0.01, [0, 1] * 1000, "2 groups of 2,000 rows are too few to hold out 1%"),
    ],
)
def test_too_few_are_not_divided_and_it_says_so(n, share, groups, why):
    source = Arrays(rows(n))
    assert split(source, share, groups) == (source, None, None if groups is None else 2, why)


def test_wrong_shares_and_groups():
    with pytest.raises(ValueError, match=r"held_out must lie in \[0, 1\); got 1"):
        split(Arrays(rows(9)), 1.0)
    with pytest.raises(ValueError, match=r"groups must have one entry for each of the 9 rows; got 2"):
        split(Arrays(rows(9)), 0.1, [1, 2])
    with pytest.raises(ValueError, match=r"held_out = 0.999999 leaves none of the 9 rows to train on"):
        split(Arrays(rows(9)), 0.999999)


@pytest.fixture
def pictures(tmp_path):
    chance = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "photos" / f"patient-{i % 8}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_a_picture_is_known_by_its_file_whatever_it_is_called_and_read_as(pictures):
    before = ImageFolder(pictures)
    keys = dict(zip((f.name for f in before.files), row_keys(before).tolist(), strict=True))
    assert len(set(keys.values())) == 40
    assert row_keys(ImageFolder(pictures, size=3)).tolist() == list(keys.values())  # another size
    assert row_keys(ImageFolder(pictures, memory=0)).tolist() == list(keys.values())  # not decoded
    (pictures / "patient-1" / "1.png").rename(pictures / "patient-2" / "renamed.png")
    after = ImageFolder(pictures)
    new = dict(zip((f.name for f in after.files), row_keys(after).tolist(), strict=True))
    assert new.pop("renamed.png") == keys.pop("1.png")
    assert new == keys


def test_large_files_are_known_by_size_and_ends(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for name, at in (("a", None), ("b", (0, 0)), ("c", (299, 299)), ("d", (150, 150))):
        changed = noise.copy()
        if at is not None:
            changed[at] ^= 1
        Image.fromarray(changed).save(tmp_path / f"{name}.bmp")  # 270 kB, not compressed
    a, b, c, d = row_keys(ImageFolder(tmp_path)).tolist()
    assert len({a, b, c}) == 3
    assert d == a  # the middle is not read


def test_groups_by_folder(pictures):
    assert set(ImageFolder(pictures, labels=False).groups()) == {f"patient-{k}" for k in range(8)}
    with pytest.raises(ValueError, match=r"its subfolders are classes, and held out by folder whole classes would be"):
        ImageFolder(pictures).groups()
    (pictures / "ill").mkdir()
    for k in range(8):
        (pictures / f"patient-{k}").rename(pictures / "ill" / f"patient-{k}")
    assert set(ImageFolder(pictures).groups()) == {f"patient-{k}" for k in range(8)}


def test_take_is_not_fooled():
    """A subset reads the rows it says."""
    x = rows(50)
    parts = split(Arrays(x), 0.5)
    assert parts.test is not None
    i = torch.tensor([3, 0, 3])
    assert torch.equal(parts.test.batch(i).x, take(x, parts.test.rows[i]))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="rows must lie in 0"):
        parts.test.batch(torch.tensor([len(parts.test)]))


def test_groups_are_of_the_rows_that_were_kept(tmp_path):
    """A row that is left out for an empty cell takes its group's name with it."""
    lines = [f"{'' if k % 7 == 0 else k},{k % 5},p{k % 30}" for k in range(1, 601)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,patient", *lines]) + "\n")
    spec = Data(
        source=str(tmp_path / "table.csv"), groups="patient", held_out=0.3, policy={"missing": "drop", "label": ""}
    )
    found = read(spec)
    kept = [k for k in range(1, 601) if k % 7]
    assert found.test is not None
    assert len(found.train) + len(found.test) == len(kept)
    patients = [{int(a) % 30 for a in in_memory(part).x[:, 0]} for part in (found.train, found.test)]
    assert not patients[0] & patients[1]
