"""A table's columns as an event, and back: nothing is lost, and nothing comes back that was not there."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from table_cases import ISLANDS, penguins

import scorefield as sf
from scorefield import data
from scorefield.data.schema import WIDTH
from scorefield.data.splitting import Subset
from scorefield.storage import models


@pytest.fixture(scope="module")
def source():
    return data.from_frame(penguins(), missing="learn")


@pytest.fixture(scope="module")
def schema(source):
    return source.table


def every(source):
    return source.batch(torch.arange(len(source)))


def test_columns_are_what_they_are(schema):
    kinds = {c.name: c.kind for c in schema.columns}
    assert kinds == {
        "island": "category", "bill_length_mm": "number", "flipper_length_mm": "number", "body_mass_g": "number",
        "sex": "category", "tagged": "boolean", "year": "category",
    }  # fmt: skip
    assert schema.label.name == "species"
    assert [(c.name, c.decimals) for c in schema.columns if c.kind == "number"] == [
        ("bill_length_mm", 1), ("flipper_length_mm", 0), ("body_mass_g", 0),
    ]  # fmt: skip
    assert schema.entries == (
        "island_Biscoe", "island_Dream", "island_Torgersen", "bill_length_mm", "flipper_length_mm",
        "missingindicator_flipper_length_mm", "body_mass_g", "sex_female", "sex_male", "sex_missing", "tagged",
        "year_2007", "year_2008", "year_2009",
    )  # fmt: skip


def test_a_table_comes_back_as_it_was(source, schema):
    x, cond = every(source)
    again = schema.decode(x, cond["label"])
    left, right = (t.astype(object).where(t.notna(), None) for t in (again, penguins()))
    pd.testing.assert_frame_equal(left, right)
    types = again.dtypes.astype(str).to_dict()
    assert (types["body_mass_g"], types["tagged"], types["year"]) == ("int64", "bool", "int64")
    assert types["flipper_length_mm"] == "Int64"  # which knows empty cells


def test_noise_is_taken_away_to_the_bit(source, schema):
    x = every(source).x
    noisy = schema.noised(x, torch.Generator().manual_seed(0))
    again = schema.snap(noisy)
    number = torch.tensor([name == "flipper_length_mm" for name in schema.entries])
    there = x[:, schema.entries.index("missingindicator_flipper_length_mm")] == 0
    assert torch.equal(again[:, ~number], x[:, ~number])
    assert torch.equal(again[there], x[there])
    gone = noisy[~there][:, number]  # anywhere in its range, not all at the median
    column = next(c for c in schema.columns if c.name == "flipper_length_mm")
    assert column.low <= float(gone.min()) < float(gone.max()) <= column.high + WIDTH
    assert float(gone.std()) > 5


def test_in_model_units_the_noisy_columns_have_mean_0_and_std_1(source):
    transform = data.Standardize.measured(source)
    x = every(source).x.repeat(300, 1)
    seen = transform.dequantize(x, torch.Generator().manual_seed(0)).double()
    assert seen.mean(0).abs().max() < 0.01
    assert (seen.std(0) - 1).abs().max() < 0.01


def test_a_value_that_is_rare_may_be_absent_from_the_rows_that_train(source):
    """Whether it is there is up to the split; its noise has a spread of its own."""
    indicator = source.columns.index("missingindicator_flipper_length_mm")
    without = Subset(source, (every(source).x[:, indicator] == 0).nonzero()[:, 0])
    transform = data.Standardize.measured(without)
    assert transform.column_std[indicator] == pytest.approx(WIDTH / math.sqrt(12))
    x = transform.dequantize(every(without).x, torch.Generator().manual_seed(0))
    assert x[:, indicator].std().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(transform.quantize(x)[:, indicator], every(without).x[:, indicator])


def test_a_transform_of_a_table_keeps_its_contract_and_travels_in_a_checkpoint(source):
    transform = data.Standardize.measured(source)
    sf.checks.check_transform(transform, every(source).x[:8])
    again = models.build(models.describe(transform))
    assert again == transform
    x = transform(every(source).x)
    assert torch.equal(data.units.raw(x, again), transform.quantize(x))


def test_the_width_makes_a_density_of_boxes_a_probability(schema):
    """Boxes of volume w^k that hold P each have the density P / w^k."""
    discrete = sum(not name.startswith("bill") for name in schema.entries)
    box = WIDTH**discrete
    assert math.log(0.25 / box) + schema.log_width == pytest.approx(math.log(0.25), abs=1e-12)


def test_samples_stay_in_the_data_and_have_its_digits(source, schema):
    wild = 5 * torch.randn(2000, len(schema.entries), generator=torch.Generator().manual_seed(0))
    x = every(source).x
    table, real = schema.decode(x.mean(0) + x.std(0) * wild), penguins()
    assert set(table["island"]) == set(ISLANDS)
    assert set(table["sex"].dropna()) == {"male", "female"}
    assert set(table["year"]) == {2007, 2008, 2009}
    for name in ("bill_length_mm", "flipper_length_mm", "body_mass_g"):
        there = table[name].dropna().astype(float)
        assert real[name].min() <= there.min() <= there.max() <= real[name].max()
        assert np.array_equal(there.round(1 if name.startswith("bill") else 0), there)


def test_classes_are_drawn_in_the_datas_proportions(schema):
    label = schema.drawn_classes(100_000, torch.Generator().manual_seed(0))
    found = torch.bincount(label).double() / len(label)
    expected = torch.tensor(schema.label.counts).double() / sum(schema.label.counts)
    assert (found - expected).abs().max() < 5 * math.sqrt(0.25 / len(label))


def test_another_table_is_read_as_the_first(schema, source):
    other = penguins(50, seed=1)[::-1].drop(columns="year").assign(year=2008, extra=1.0)
    read = data.from_frame(other, schema=schema)
    assert read.columns == schema.entries
    assert read.num_classes == 3
    assert "not known to the model: extra" in read.said[0]
    assert "label" not in data.from_frame(other.drop(columns="species"), schema=schema).batch(torch.arange(2)).cond
    for change, message in (
        ({"island": "Mars"}, r"row 1, column 'island': 'Mars' is not among its categories, Biscoe, Dream, Torgersen"),
        ({"species": "Emu"}, r"row 1, column 'species': 'Emu' is none of the classes, Adelie, Chinstrap, Gentoo"),
        ({"tagged": None}, r"row 1, column 'tagged': missing value"),
    ):
        with pytest.raises(ValueError, match=message):
            data.from_frame(other.assign(**change), schema=schema)
    with pytest.raises(ValueError, match=r"no column 'sex'; there are species, island"):
        data.from_frame(other.drop(columns="sex"), schema=schema)


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        (("a", "number", "int64[ns]"), "dtype"),
        (("a", "blob", "int64"), "kind"),
        (("a", "category", "text"), "values"),
        (("a", "category", "text", [["b"]]), "values"),
        (("a", "number", "float64", (), 10**9), "decimals"),
        (("a", "number", "float64", (), None, "x"), "low and high"),
        (("a", "number", "Float64", (), None, 0.0, 1.0, None, True), "fill"),
        ((7, "number", "float64"), "name"),
    ],
)
def test_a_strangers_checkpoint_cannot_describe_what_no_table_has(column, wrong):
    with pytest.raises(ValueError, match=f"a table's column has no such {wrong}: ") as caught:
        data.TableSchema((column,))
    assert "\n" not in str(caught.value)


def test_names_counts_and_sizes_of_a_schema_agree():
    good: Any = ("a", "number", "float64")
    label: Any = ("y", "text", ("u", "v"), (1, 2))
    several: Any = ({"columns": ()}, {"columns": (good, good)}, {"columns": (good,), "order": ("b",)})
    for arguments in several:
        with pytest.raises(ValueError, match="columns of different names, and order has them all"):
            data.TableSchema(**arguments)
    with pytest.raises(ValueError, match="no such label column"):
        data.TableSchema((good,), (*label[:3], (1,)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="table must be a TableSchema of 2 entries"):
        data.Standardize((0.0, 0.0), (1.0, 1.0), table=data.TableSchema((good,)))
    labelled = data.TableSchema((good,), label)
    assert list(labelled.decode(torch.zeros(1, 1), torch.tensor([1]))) == ["a", "y"]


def test_a_frame_of_arrow_types_is_one(schema):
    pytest.importorskip("pyarrow", reason="parquet is an extra")
    arrow = penguins().convert_dtypes(dtype_backend="pyarrow")
    assert data.from_frame(arrow, missing="learn").columns == schema.entries
