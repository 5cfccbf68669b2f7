import torch

from scorefield import data


def test_the_split_is_stratified_disjoint_and_complete():
    split = data.digits()
    assert split.train.shape[1:] == split.test.shape[1:] == (1, 8, 8)
    assert split.train.dtype == torch.uint8
    assert int(split.train.max()) == data.LEVELS - 1
    assert len(split.train) + len(split.test) == 1797
    counts = torch.bincount(split.train_labels), torch.bincount(split.test_labels)
    assert (counts[0] - counts[1]).abs().max() <= 1
    # 1,797 images, all different: a shared one would show
    everything = torch.cat([split.train, split.test]).flatten(1)
    assert len(everything.unique(dim=0)) == 1797


def test_the_split_is_a_function_of_its_seed():
    one, same, other = data.digits(), data.digits(), data.digits(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.test, other.test)
    assert abs(len(data.digits(test_fraction=0.2).test) - 1797 / 5) < 5  # each class is rounded
