"""What to cite: every published part has its paper, and a run's are found wherever they stand in it."""

import functools
import re
import unicodedata
from pathlib import Path

import pytest
import torch

import scorefield as sf
from scorefield import catalogue, citing
from scorefield.cli import main

SOURCE = Path(sf.__file__).parent

# Nobody's, everybody's, or this project's own.
OURS = {
    "X0", "Brownian", "MLP", "UNetEncoder", "MLPEncoder", "MLPGenerator", "MLPFeatures", "ConvGenerator",
    "ConvFeatures", "classification", "drifting", "Uniform", "UniformAngle", "LogitNormal", "Importance", "Independent",
    "Euler", "Heun", "RK4", "Adaptive", "StochasticAdams", "Bridge", "LaplaceBridge", "x0", "eps", "snr", "v",
    "velocity", "score", "Exponential", "SoftMinSNR", "P2", "elbo", "non-saturating",
}  # fmt: skip


def keys(text):
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


def test_names_and_references_belong_together():
    said = {key for cited in citing.USED.values() for key in cited}
    assert said == set(citing.references())
    assert not OURS & set(citing.USED) - {"elbo"}


TABLES = ["NETWORKS", "SCHEDULES", "PARAMETERIZATIONS", "LOSSES", "WEIGHTS", "TIMES", "COUPLINGS", "SOLVERS", "METHODS"]


@pytest.mark.parametrize("table", [*TABLES, "OPTIMIZERS"])
def test_every_part_of_the_catalogue_is_cited_or_ours(table):
    missing = []
    for name, entry in getattr(catalogue, table).items():
        place = (entry if isinstance(entry, str) else entry[0]).partition(":")[2]
        if not {name, place, place.partition(".")[0]} & (set(citing.USED) | OURS):
            missing.append(name)
    assert missing == []


def plain(text):
    text = re.sub(r"[{}\\'\"^]|\\c", "", text)
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)).lower()


@pytest.mark.parametrize("entry", citing.references().values(), ids=list(citing.references()))
def test_an_entry_is_whole_and_its_paper_is_one_that_docstrings_name(entry):
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))
    assert entry.count("{") == entry.count("}")
    assert {"author", "title", "year"} <= set(fields)
    surname = plain(fields["author"].partition(",")[0])
    assert surname in plain_sources()


@functools.cache
def plain_sources():
    return plain("\n".join(p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py")))


def test_parts_are_found_within_parts():
    net = sf.networks.MLP(2, num_classes=2)
    model = sf.ClassifierFreeGuidance(sf.NetworkDenoiser(net, sf.SubVP(), sf.V()), 2.0)
    loss = functools.partial(sf.losses.denoising, weight=sf.losses.weights.MinSNR())
    found = keys(sf.citations(model, sf.UniPC(), loss))
    assert set(found) == {
        "ho2022cfg",
        "song2021sde",
        "salimans2022",
        "zhao2023unipc",
        "vincent2011",
        "hang2023",
        "scorefield",
    }
    assert len(found) == len(set(found))
    drawn = sf.sample(sf.ExactDenoiser(sf.distributions.two_moons(), sf.EDM()), (2, 2), solver=sf.DEIS(), nfe=20)
    assert set(keys(sf.citations(drawn))) == {"karras2022edm", "zhang2023deis", "scorefield"}
    assert keys(sf.citations("mnist", sf.DDIM)) == ["lecun", "song2021ddim", "scorefield"]


def test_recipes_say_what_they_use():
    assert "jordan2024muon" in keys(sf.citations(sf.recipes.presets.mnist()))
    gan = keys(sf.citations(sf.recipes.presets.gan()))
    assert "huang2024r3gan" in gan
    assert "karras2022edm" not in gan  # its recipe has a schedule, and no use for it


def test_a_run_is_read_by_its_path(tmp_path, capsys):
    small = ["network.hidden=8", "training.steps=2", "optim.warmup=1"]
    sf.runs.train(tmp_path / "run", sf.recipes.override(sf.recipes.presets.two_moons(), small))
    expected = {"karras2022edm", "vincent2011", "loshchilov2019", "scorefield"}
    assert set(keys(sf.citations(tmp_path / "run"))) == expected
    with pytest.raises(SystemExit):
        main(["cite", str(tmp_path / "run"), "DPS"])
    assert set(keys(capsys.readouterr().out)) == expected | {"chung2023dps"}


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no part and no run is called 'DDIN'"):
        sf.citations("DDIN")


def test_tensors_and_strangers_are_passed_over():
    assert keys(sf.citations(torch.zeros(2), {"a": object()}, None)) == ["scorefield"]
