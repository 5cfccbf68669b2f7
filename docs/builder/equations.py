r"""A block of a docstring's mathematics as LaTeX, or None where it is not mathematics in the main.

`E[x0 | x_t] = (x_t + sigma^2 grad log p_t) / alpha` becomes `\mathbb{E}[x_0 | x_t] = ...`. Columns of a line are parted
by two spaces or more. A column is mathematics where each of its words is a symbol: a letter with what is attached, or
a word of the table; other columns are text beside it. A block is mathematics where most lines state a relation.
"""

import re

GREEK = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi",
    "rho", "sigma", "tau", "phi", "chi", "psi", "omega", "Phi", "Sigma", "Omega",
]  # fmt: skip
OPERATORS = [
    "Cov", "Var", "KL", "SNR", "TV", "MMD", "KSD", "ESM", "ISM", "div", "tr", "atan", "sd", "diag", "softmax", "clip",
    "silu", "norm", "rms", "var", "arccos", "asinh", "output", "target", "goal", "loss", "score", "velocity", "std",
    "mean", "rank", "law", "ceil", "keep", "noise", "scale", "shift", "width", "nugget", "tail", "near", "far",
]  # fmt: skip
WORDS = {
    **{name: "\\" + name for name in GREEK},
    "eps": r"\varepsilon", "abar": r"{\bar\alpha}", "grad": r"\nabla", "int": r"\int", "sum": r"\sum", "prod": r"\prod",
    "log": r"\log", "exp": r"\exp", "sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "min": r"\min", "max": r"\max",
    "E": r"\mathbb{E}", "N": r"\mathcal{N}", "inf": r"\infty", "I": "I",
    **{name: rf"\operatorname{{{name}}}" for name in OPERATORS},
}  # fmt: skip
TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<word>[A-Za-z][A-Za-z0-9]*)|(?P<number>\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<two><=|>=|->|<-|\|\||\+-|~=)|(?P<one>[-+*/=<>()\[\]{}|,.;:~^_'!])"
)
TWO = {"<=": r"\le ", ">=": r"\ge ", "->": r"\to ", "<-": r"\leftarrow ", "||": r"\|", "+-": r"\pm ", "~=": r"\approx "}
RELATION = re.compile(r"=|<|>|~")
COLUMNS = re.compile(r"\s{2,}")
UNSAYABLE = re.compile(rf"[\^{{}}\\`#$%&]|\b({'|'.join(GREEK)})\b|[=<>]|\b_")  # in text beside formulas
CLOSING = {"(": ")", "{": "}", "[": "]"}


def to_latex(lines: list[str]) -> str | None:
    """The block as LaTeX; None where half of its lines relate nothing to anything, or where it cannot be said."""
    rows = [_columns(line) for line in lines if line.strip()]
    related = sum(any(math and RELATION.search(raw) for raw, math in row) for row in rows)
    if 2 * related <= len(rows) or any(math is None and UNSAYABLE.search(raw) for row in rows for raw, math in row):
        return None
    shown = [r" \quad & ".join(math or rf"\text{{{raw}}}" for raw, math in row) for row in rows]
    if len(shown) == 1:
        return shown[0].replace(r" \quad & ", r" \qquad ")
    return r"\begin{aligned} & " + r" \\ & ".join(shown) + r" \end{aligned}"


def _columns(line: str) -> list[tuple[str, str | None]]:
    """Each column as it stands and as LaTeX."""
    line = re.sub(r"\s{2,}(?=[=<>~])|(?<==)\s+", " ", line.strip().rstrip(",."))
    return [(column, _latex(column)) for column in COLUMNS.split(line)]


def _latex(column: str) -> str | None:
    tokens = _tokens(column)
    if tokens is None:
        return None
    try:
        return _joined(tokens).strip()
    except ValueError:
        return None


def _tokens(line: str) -> list[str] | None:
    """Symbols in LaTeX."""
    found, at = [], 0
    while at < len(line):
        match = TOKEN.match(line, at)
        if match is None:
            return None
        kind, text = match.lastgroup, match.group()
        at = match.end()
        if kind == "space":
            found.append(" ")
        elif kind == "word":
            index = line[: match.start()].endswith("_") and re.fullmatch("[a-z]{2}", text)  # a_ij
            symbol = text if index else _symbol(text, line[at : at + 1])
            if symbol is None:
                return None
            found.append(symbol)
        elif kind == "two":
            found.append(TWO[text])
        else:
            found.append({"~": r"\sim ", "*": r"\ast ", ".": r"\cdot " if _dot(line, match) else "."}.get(text, text))
    return found


def _dot(line: str, match: re.Match[str]) -> bool:
    return line[match.start() - 1 : match.start()] == " " and line[match.end() : match.end() + 1] == " "


def _symbol(word: str, after: str) -> str | None:
    if word == "N" and after != "(":  # a number, not the normal law
        return "N"
    if word == "sqrt":
        return r"\sqrt"
    if word in WORDS:
        return WORDS[word] + " "
    if re.fullmatch(r"[A-Za-z]\d*", word):  # x0
        return word[0] + (f"_{{{word[1:]}}}" if len(word) > 1 else "")
    if re.fullmatch(r"d[a-zA-Z]\d*", word):  # dx, dx0
        return f"d{word[1]}" + (f"_{{{word[2:]}}}" if word[2:] else "")
    if word.startswith("d") and word[1:] in WORDS:
        return f"d{WORDS[word[1:]]} "
    return None


def _joined(tokens: list[str]) -> str:
    """Arguments of roots, powers and indices in braces; a raised index after an index stays one of the letter."""
    out, i = "", 0
    while i < len(tokens):
        token = tokens[i]
        if token in ("^", "_", r"\sqrt"):
            group, i = _argument(tokens, i + 1)
            if token == "_" and re.search(r"_\{[^{}]*\}$", out):  # x0_t
                raise ValueError(token)
            out += f"{token}{{{group}}}"
            continue
        out += token.replace("{", r"\{").replace("}", r"\}") if token in "{}" else token
        i += 1
    return out


def _argument(tokens: list[str], i: int) -> tuple[str, int]:
    if i >= len(tokens):
        raise ValueError("nothing to raise")
    sign = ""
    if tokens[i] in "-+" and i + 1 < len(tokens):
        sign, i = tokens[i], i + 1
    if tokens[i] in CLOSING and tokens[i] != "[":
        depth, end = 0, i
        while end < len(tokens):
            depth += (tokens[end] == tokens[i]) - (tokens[end] == CLOSING[tokens[i]])
            if depth == 0:
                return sign + _joined(tokens[i + 1 : end]), end + 1
            end += 1
        raise ValueError("a bracket is open")
    if not re.match(r"[\\A-Za-z0-9.']", tokens[i]):
        raise ValueError(tokens[i])
    return sign + tokens[i].strip(), i + 1
