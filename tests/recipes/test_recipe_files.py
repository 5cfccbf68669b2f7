"""Recipes in TOML: what is written is read, and what is wrong is said in one line with the way out."""

import random

import pytest

from scorefield import recipes
from scorefield.recipes import presets
from scorefield.recipes.schema import Data, Objective, Optim, Recipe, Training, part

PRESETS = [
    presets.digits, presets.mnist, presets.fashion, presets.two_moons, presets.tabular, presets.series,
    presets.image_folder,
    presets.photos,
    presets.photos_gpu,
]  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.__name__)
def test_a_preset_comes_back_from_toml_as_it_was(preset):
    assert recipes.loads(recipes.dumps(preset())) == preset()


AWKWARD = Recipe(
    name='a "name" \\ with\ttabs, naïve, 数 and # no comment = ',
    data=Data(
        source="runs\\new", policy={"label column": 1, "a.b": [1, 2.0, "x"], "": {"deeper still": True}, "é": []}
    ),
    network=part("MLP", hidden=1e-300, table={"x": {"y": 1}}, pairs=[[1, 2], [3]], rows=[{"a b": 1}, {}]),
    objective=Objective(weight=part("MinSNR", gamma=0.1 + 0.2)),
    optim=Optim(lr=1e-05, power_ema=(0.05, 1 / 3), clip=float("inf")),
    training=Training(steps=10**15),
)


def test_awkward_names_numbers_and_tables_come_back_exactly():
    assert recipes.loads(recipes.dumps(AWKWARD)) == AWKWARD


def test_random_texts_and_numbers_come_back_exactly():
    draw = random.Random(0)
    for _ in range(200):
        text = "".join(chr(draw.choice([draw.randrange(0, 160), draw.randrange(0x4E00, 0x4F00)])) for _ in range(8))
        recipe = AWKWARD.model_copy(update={"name": text, "optim": Optim(lr=10 ** draw.uniform(-300, 300))})
        assert recipes.loads(recipes.dumps(recipe)) == recipe


def one_line(text, *overrides):
    with pytest.raises(ValueError, match=r".") as caught:
        recipes.loads(text, "my.toml", overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


BASE = 'name = "x"\n[data]\nsource = "digits"\n[network]\ntype = "UNet"\n[training]\nsteps = 10\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[optim]\nlearning_rat = 1", "unknown key 'optim.learning_rat' in my.toml. Did you mean 'optim.lr'?"),
        ("[optim]\nwarmpu = 1", "unknown key 'optim.warmpu' in my.toml. Did you mean 'optim.warmup'?"),
        ("[optimizer]\nlr = 1", "unknown key 'optimizer' in my.toml. Did you mean 'optim'?"),
        ("[logging]\ncheckpoint = 5", "'logging.checkpoint' in my.toml. Did you mean 'logging.checkpoint_every'?"),
        ("[optim]\nlr = 'fast'", "optim.lr in my.toml: input should be a valid number"),
        ("[optim]\nlr = -1", "optim.lr in my.toml: input should be greater than 0; got -1"),
        ("[optim]\nema_decay = 2", "optim.ema_decay in my.toml: input should be less than"),
        ("[schedule]\nsigma_max = 3", "schedule.type in my.toml: field required"),
        ("schedule = 5", "schedule in my.toml: input should be"),
        ("[data.policy]\n[data.policy", "my.toml is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_the_nearest_right(text, said):
    head = "" if text.startswith("[") else text + "\n"
    assert said in one_line(head + BASE + ("" if head else text))


def test_missing_values_are_named():
    assert one_line("name = 'x'") == "data in my.toml: field required"
    assert one_line(BASE.replace("steps = 10", "")) == "training.steps in my.toml: field required"


def test_an_unknown_key_far_from_all_lists_them():
    assert one_line(BASE + "[schedule]\ntype = 'VP'\n[zzz]\nq = 1").startswith(
        "unknown key 'zzz' in my.toml. Known: data, logging, name, "
    )


def test_keys_are_set_as_toml_or_else_as_text():
    recipe = recipes.override(
        presets.two_moons(),
        [
            "training.steps=7",
            "optim.lr=3e-4",
            "data.source=my file.csv",
            "optim.power_ema=[0.05, 0.1]",
            "data.test='5'",
        ],
    )
    assert (recipe.training.steps, recipe.optim.lr, recipe.data.source) == (7, 3e-4, "my file.csv")
    assert (recipe.optim.power_ema, recipe.data.test) == ((0.05, 0.1), "5")


def test_another_class_forgets_the_old_ones_arguments_but_not_those_set_beside_it():
    for order in (["network.type=DiT", "network.hidden=64"], ["network.hidden=64", "network.type=DiT"]):
        assert recipes.override(presets.two_moons(), order).network == part("DiT", hidden=64)
    same = recipes.override(presets.two_moons(), ["network.type=MLP", "network.depth=5"])
    assert same.network == presets.two_moons().network.model_copy(update={"depth": 5})


def test_a_name_alone_is_a_class_with_its_defaults():
    recipe = recipes.override(presets.digits(), ["optim.optimizer=Muon", "schedule=VP", "objective.weight=MinSNR"])
    assert (recipe.optim.optimizer, recipe.schedule) == (part("Muon"), part("VP"))
    assert recipe.objective.weight == part("MinSNR")
    assert recipe.optim.lr == presets.digits().optim.lr
    assert recipes.loads('schedule = "Cosine"\n' + BASE).schedule == part("Cosine")


@pytest.mark.parametrize("item", ["training.steps", "=5", "training..steps=5", ".steps=5"])
def test_what_is_no_key_and_value_is_refused(item):
    with pytest.raises(ValueError, match=r"--set takes key=value, e\.g\. training\.steps=100"):
        recipes.override(presets.digits(), [item])


def test_errors_of_keys_that_were_set_say_so():
    with pytest.raises(ValueError, match=r"unknown key 'optim\.lrr' in --set\. Did you mean 'optim\.lr'"):
        recipes.override(presets.digits(), ["optim.lrr=1"])
    assert "in my.toml with --set" in one_line(BASE, "optim.lrr=1")
    with pytest.raises(ValueError, match=r"'lr' in 'optim\.lr\.x' is a value, not a table"):
        recipes.override(presets.digits(), ["optim.lr.x=1"])


def test_the_first_difference_is_named_with_both_values():
    one = presets.two_moons()
    assert recipes.difference(one, recipes.loads(recipes.dumps(one))) is None
    assert recipes.difference(one, recipes.override(one, ["optim.lr=0.5"])) == ("optim.lr", str(one.optim.lr), "0.5")
    assert recipes.difference(one, recipes.override(one, ["network.dropout=0.5"])) == (
        "network.dropout",
        "not set",
        "0.5",
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe at .*nowhere.toml"):
        recipes.load(tmp_path / "nowhere.toml")
