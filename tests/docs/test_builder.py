"""Docstrings become formulas where they are formulas, and reStructuredText that says what they said."""

import pytest

pytest.importorskip("sphinx_gallery", reason="needs the extra `docs`")

from docutils.core import publish_doctree
from docutils.utils.math.latex2mathml import tex2mathml

import builder
from builder import api, docstrings, equations, markdown

FORMULAS = {
    "E[x0 | x_t] = (x_t + sigma^2 grad log p_t) / alpha": (
        r"\mathbb{E} [x_{0} | x_{t}] = (x_{t} + \sigma ^{2} \nabla  \log  p_{t}) / \alpha"
    ),
    "x <- x + (h/2) score + sqrt(h) z,": r"x \leftarrow  x + (h/2) \operatorname{score}  + \sqrt{h} z",
    "z ~ N(0, I)": r"z \sim  \mathcal{N} (0, I )",
    "p = (1/N) sum_i w_i^(k+1)": r"p = (1/N) \sum _{i} w_{i}^{k+1}",
    "K_jk = rho(phi_j - phi_k)": r"K_{jk} = \rho (\phi _{j} - \phi _{k})",
}


@pytest.mark.parametrize("line", FORMULAS)
def test_a_formula_is_one(line):
    assert equations.to_latex([line]) == FORMULAS[line]
    assert tex2mathml(FORMULAS[line]).startswith("<math")


@pytest.mark.parametrize(
    "line",
    [
        "the share of x_j in any ball of the real",  # prose
        "run.sample(16, label=3).raw                     samples, in the units of the data",  # code
        "alpha sigma",  # relates nothing
        "x = y^",  # half of one
        "sqrt(x = 1",
    ],
)
def test_what_is_no_formula_stays_text(line):
    assert equations.to_latex([line]) is None


def test_lines_and_words_beside_them_are_aligned():
    block = ["score   = -V^-1 (x_t - alpha m)", "Cov[x0 | x_t]   = sigma^2 C V^-1        the same for every x_t"]
    found = equations.to_latex(block)
    assert found is not None
    assert found.startswith(r"\begin{aligned} & ")
    assert r"\text{the same for every x_t}" in found


def test_a_docstring_means_what_it_says():
    """Stars, bars and trailing underscores are themselves, single backquotes code, indented blocks as they are."""
    text = """`x` `(B, *event)`s and |s|^2, x_ too.

    x_s = alpha_s D

and

    plain words = more words of prose

Args:
    x: of shape *any*.

| a | b |
| --- | --- |
"""
    tree = publish_doctree(
        "\n".join(docstrings.to_rst(list[str](text.splitlines()))), settings_overrides={"report_level": 5}
    )
    assert [node.astext() for node in tree.findall() if node.tagname == "literal"] == ["x", "(B, *event)"]
    assert "|s|^2, x_ too" in tree.astext()
    assert "*any*" in tree.astext()
    assert not list(tree.findall(lambda n: n.tagname in ("problematic", "emphasis", "substitution_reference")))
    assert [n.astext() for n in tree.findall() if n.tagname == "math_block"] == [r"x_{s} = \alpha _{s} D"]
    shown = [n.astext() for n in tree.findall() if n.tagname == "literal_block"]
    assert shown == ["plain words = more words of prose", "| a | b |\n| --- | --- |"]


def test_every_public_name_has_a_page():
    home = api.homes()
    assert home["DDIM"] == "scorefield.solvers.DDIM"
    assert home["sample"] == "scorefield.sample"
    pages = api.pages()
    for full in home.values():
        assert any(f":: {full}\n" in text for text in pages.values()), full
    assert any("lessons/06_reverse_time" in line for line in api.used_in("scorefield.solvers.EulerMaruyama"))
    assert api.used_in("scorefield.solvers.EulerMaruyama.weights") == []


def test_a_lesson_is_markdown():
    script = 'r"""\nTitle\n=====\n\nOf :math:`x^2`.\n"""\n\nx = 1\n\n'
    script += "# %%\n# Then\n# ----\n# .. math::\n#\n#     y\n#\n# and ``z``.\n\nz = 2\n"
    assert markdown.lesson(script) == (
        "\n# Title\n\nOf $x^2$.\n\n```python\nx = 1\n```\n\n## Then\n$$\ny\n$$\n\nand `z`.\n```python\nz = 2\n```\n"
    )


def test_indices_of_accented_letters_stand_beside_them_and_fractions_need_no_braces():
    found = builder.mathml(r"\hat x_0 \tfrac12 + \frac h2 + \frac1{2L}", block=False)
    assert "munderover" not in found
    assert found.index("<msub") < found.index("<mover") < found.index("<mn>0</mn>")
    assert found.count("<mfrac") == 3
    assert "<mn>12</mn>" not in found
    assert "<mtable" in builder.mathml(r"\begin{aligned} & x < y & z \\ & a \, b \end{aligned}", block=True)
