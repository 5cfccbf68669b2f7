"""Classifier guidance with exact and trained classifiers of noisy data."""

import math

import pytest
import torch
from guidance_cases import classes, f64, points

import scorefield as sf
from scorefield import losses, networks, storage, training
from scorefield.guidance import ExactClassifier, Interval, NetworkClassifier
from scorefield.storage import models

T = torch.tensor(0.4, dtype=f64)
LABEL = torch.tensor([0, 1, 2, 0, 1, 2])


def exact(schedule=None, dim=2):
    model = classes(schedule, dim)
    return model, ExactClassifier(model.laws, model.weights, model.schedule)


@pytest.mark.parametrize("schedule", [sf.VP(), sf.EDM(), sf.Rectified()], ids=["vp", "edm", "rectified"])
def test_with_an_exact_classifier_weight_one_is_the_conditional_model(schedule):
    """Bayes' rule; the guided model is told the class by the classifier alone."""
    (model, classifier), x = exact(schedule), points()
    for t in (0.05, 0.4, 0.9):
        t = torch.tensor(t, dtype=f64)
        guided = sf.ClassifierGuidance(model, classifier)(x, t, label=LABEL)
        torch.testing.assert_close(guided, model(x, t, label=LABEL), rtol=1e-8, atol=1e-8)


def test_it_is_classifier_free_guidance_where_both_are_exact():
    (model, classifier), x = exact(), points()
    for w in (0.5, 3.0):
        guided = sf.ClassifierGuidance(model, classifier, w)(x, T, label=LABEL)
        torch.testing.assert_close(guided, sf.ClassifierFreeGuidance(model, w)(x, T, label=LABEL), rtol=1e-8, atol=1e-8)


def test_weight_zero_and_no_label_are_the_model_itself_to_the_bit():
    (model, classifier), x = exact(), points()
    assert torch.equal(sf.ClassifierGuidance(model, classifier, 0.0)(x, T, label=LABEL), model(x, T))
    assert torch.equal(sf.ClassifierGuidance(model, classifier, 2.0)(x, T), model(x, T))
    interval = sf.ClassifierGuidance(model, classifier, Interval(2.0, 0.5, 5.0))
    t = model.schedule.time_of_log_snr(torch.tensor(0.0, dtype=f64))  # sigma / alpha = 1
    torch.testing.assert_close(interval(x, t, label=LABEL), sf.ClassifierFreeGuidance(model, 2.0)(x, t, label=LABEL))


def test_samples_do_not_see_each_other_and_the_contract_holds():
    (model, classifier), x = exact(), points()
    guided = sf.ClassifierGuidance(model, classifier, 2.0)
    whole = guided(x, T, label=LABEL)
    assert torch.equal(guided(x[3:4], T, label=LABEL[3:4]), whole[3:4])
    sf.checks.check_denoiser(guided, (2,), cond={"label": torch.tensor([0, 1, 2, 0])})


def test_the_likelihood_differentiates_through_the_classifier():
    """At weight 1 the guided flow is the flow of the class, whose density is known."""
    (model, classifier), x = exact(dim=1), torch.linspace(-1, 1, 5, dtype=f64)[:, None]
    result = sf.log_prob(sf.ClassifierGuidance(model, classifier), x, cond={"label": torch.full((5,), 1)})
    torch.testing.assert_close(result.log_prob.double(), model.laws[1].log_prob(x), rtol=0, atol=5e-3)


def test_it_is_refused_where_alpha_is_zero():
    model, classifier = exact(sf.Rectified())
    with pytest.raises(ValueError, match="undefined where alpha = 0"):
        sf.ClassifierGuidance(model, classifier)(points(), torch.tensor(1.0), label=LABEL)


def test_the_loss_is_the_cross_entropy_and_least_at_the_exact_classifier():
    """Its mean there is the entropy of y given x_t; at pure noise, log of the classes' shares."""
    model, classifier = exact()
    generator = torch.Generator().manual_seed(0)
    n = 4000
    label = torch.multinomial(model.weights, n, replacement=True, generator=generator)
    laws = torch.stack([law.sample(n, generator=generator) for law in model.laws])
    x0, eps = laws[label, torch.arange(n)], torch.randn(n, 2, dtype=f64, generator=generator)
    t = torch.rand(n, dtype=f64, generator=generator)
    cond = {"label": label}
    best = losses.classification(classifier, x0, t=t, eps=eps, cond=cond)
    assert best.shape == (n,)
    for change in (lambda z: 1.15 * z, lambda z: 0.85 * z, lambda z: z + torch.tensor([0.2, 0.0, 0.0])):
        changed = ExactClassifier(model.laws, model.weights, model.schedule)
        changed.register_forward_hook(_changing(change))
        excess = losses.classification(changed, x0, t=t, eps=eps, cond=cond) - best
        assert float(excess.mean()) > 0
    noise = losses.classification(classifier, x0, t=torch.ones(n, dtype=f64), eps=eps, cond=cond)
    torch.testing.assert_close(noise, -model.weights.log()[label], rtol=0, atol=0.2)
    x_t = model.schedule.perturb(x0[:5], t[:5], eps[:5])
    by_hand = -torch.log_softmax(classifier(x_t, t[:5]), 1)[torch.arange(5), label[:5]]
    torch.testing.assert_close(best[:5], by_hand)
    doubled = losses.classification(
        classifier, x0[:5], t=t[:5], eps=eps[:5], cond={"label": label[:5]}, weight=lambda s, t: 2 + 0 * t
    )
    torch.testing.assert_close(doubled, 2 * best[:5])


def _changing(change):
    return lambda module, args, out: change(torch.log_softmax(out, 1))


@pytest.mark.parametrize(
    ("cond", "message"),
    [({}, "classification needs labels"), ({"label": torch.full((6,), 3)}, r"label must lie in 0..2; got 3..3")],
)
def test_bad_labels_are_refused(cond, message):
    with pytest.raises(ValueError, match=message):
        losses.classification(exact()[1], points(), t=torch.full((6,), 0.5), cond=cond)


def test_a_trained_classifier_guides_a_model_to_its_classes(tmp_path):
    """Two Gaussians: after a few hundred steps the guided samples are those of the class asked for."""
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(2000) % 2
    x0 = (2 * label[:, None] - 1.0) * torch.tensor([1.0, 0.5]) + 0.4 * torch.randn(2000, 2, generator=generator)
    torch.manual_seed(0)
    net = networks.MLPEncoder(2, 2, hidden=32, depth=2)
    classifier = NetworkClassifier(net, sf.VP(), sf.EDMPreconditioning(sigma_data=1.0), data_std=1.0)
    fit = training.fit(
        classifier,
        x0,
        labels=label,
        loss=losses.classification,
        steps=300,
        batch_size=128,
        lr=5e-3,
        warmup=10,
        ema_decay=0.95,
    )
    assert isinstance(fit.denoiser, NetworkClassifier)
    assert sum(fit.history.loss[-50:]) / 50 < 0.75 * math.log(2)
    law = sf.GaussianMixture(
        torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, -0.5], [1.0, 0.5]]), torch.full((2, 2), 0.16)
    )
    guided = sf.ClassifierGuidance(sf.ExactDenoiser(law, sf.VP()), fit.denoiser)
    asked = torch.arange(400) % 2
    x = sf.sample(guided, (400, 2), nfe=15, cond={"label": asked}).x
    assert float(((law.responsibilities(x)[:, 1] > 0.5) == asked.bool()).double().mean()) > 0.95
    storage.save(tmp_path / "c.safetensors", fit.denoiser, {"seed": 1})
    kept = models.load_classifier(tmp_path / "c.safetensors").classifier
    assert torch.equal(kept(x[:5], T), fit.denoiser(x[:5], T))
    with pytest.raises(ValueError, match="is a classifier, not a denoiser"):
        storage.load(tmp_path / "c.safetensors")
