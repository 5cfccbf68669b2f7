"""The command line.

Commands live one a file. Nothing heavy is imported until a command runs, so that --help answers at once; and every
error, ours or the operating system's, reaches the user as one line on stderr with exit code 2 (130 for Ctrl-C, 75 where
a run was saved and can go on). --debug shows the traceback.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from scorefield._origin import running
from scorefield.cli import (
    anomaly,
    audit,
    cite,
    compare,
    data,
    decode,
    demo,
    diagnose,
    distill,
    edit,
    encode,
    evaluate,
    export,
    importing,
    infer,
    inpaint,
    interpolate,
    likelihood,
    move,
    play,
    quickstart,
    reconstruct,
    report,
    sample,
    train,
    tune,
)
from scorefield.cli._errors import one_line

app = typer.Typer(
    name="scorefield",
    help="Score-based generative modelling, checked against exact answers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it answers in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart")(quickstart.quickstart)
app.command("train")(train.train)
app.command("report")(report.report)
app.command("sample")(sample.sample)
app.command("tune")(tune.tune)
app.command("distill")(distill.distill)
app.command("audit")(audit.audit)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("diagnose")(diagnose.diagnose)
app.command("likelihood")(likelihood.likelihood)
app.command("encode")(encode.encode)
app.command("decode")(decode.decode)
app.command("interpolate")(interpolate.interpolate)
app.command("move")(move.move)
app.command("edit")(edit.edit)
app.command("inpaint")(inpaint.inpaint)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("infer")(infer.infer)
app.command("anomaly")(anomaly.anomaly)
app.command("cite")(cite.cite)
app.command("export")(export.export)
app.command("import")(importing.import_)
app.command("play")(play.play)
app.add_typer(data.app, name="data")
app.add_typer(demo.app, name="demo")


def _version(show: bool) -> None:
    if show:
        from scorefield import __version__

        typer.echo(f"scorefield {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; anywhere on the line.")
    ] = False,
) -> None:
    """Score-based generative modelling, checked against exact answers."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; always raises SystemExit."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [a for a in args if a != "--debug"]
    running(args)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        code = typer.main.get_command(app).main(args, prog_name="scorefield", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if (folder := _kept_in(error)) is not None:
            sys.stderr.write(f"interrupted: {error}. Go on with: scorefield train --resume --out {folder}\n")
            sys.exit(75)  # EX_TEMPFAIL: come back later
        if type(error).__name__ == "NoArgsIsHelpError":  # typer raises the help of a bare `scorefield`
            typer.echo(error.format_message())  # type: ignore[attr-defined]
            sys.exit(0)
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {one_line(error)}\n")
        sys.exit(2)
    if code == 130:
        sys.stderr.write("interrupted\n")
    sys.exit(code if isinstance(code, int) else 0)


def _kept_in(error: Exception) -> Path | None:
    """The folder of a run that was stopped and can go on."""
    runs: Any = sys.modules.get("scorefield.runs")  # imported by then, if it is one
    return getattr(error, "folder", None) if runs is not None and isinstance(error, runs.Interrupted) else None
