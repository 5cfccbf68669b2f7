"""`scorefield play`: the playground, served to this machine or written as one file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from scorefield.cli._output import warn


def play(
    run: Annotated[
        list[Path] | None,
        typer.Argument(help="Runs of pictures, for the scene Your model: folders, or checkpoints.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 8350,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="Write the page to this one file, which needs no server, and stop.", dir_okay=False
        ),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", help="What is shown: a link to the page, from its # on, as the page copies it.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
) -> None:
    """See the score field move: drag a density, watch samplers converge and fail, race solvers. Ctrl-C stops it."""
    if export is not None:
        if run:
            raise ValueError("--export writes a page without a server, and a run needs one: give one or the other")
        if at:
            raise ValueError("--export writes the page, and --at opens it somewhere: give one or the other")
        if export.exists() and not overwrite:
            raise ValueError(f"{export} exists; --overwrite replaces it")
        from scorefield.play.export import page
        from scorefield.storage import files

        files.replace(export, page().encode())
        typer.echo(f"wrote {export}, {export.stat().st_size / 1e3:.0f} kB: open it in a browser")
        return
    try:
        from scorefield.play.server import listening, serve
    except ModuleNotFoundError as error:
        raise ValueError(f'the playground needs {error.name}: pip install "scorefield[play]"') from None
    loaded = {}
    if run:
        from scorefield.play import models

        loaded = {name: found.to(device) for name, found in models.loaded(run, warn).items()}
    held = listening(port)
    address = f"http://127.0.0.1:{held.getsockname()[1]}/"
    if at:
        address += "#" + quote(at.removeprefix("#"), safe="=&%+*")

    def ready() -> None:
        typer.echo(f"the playground is at {address} (Ctrl-C stops it)")
        if not no_open:
            import webbrowser

            webbrowser.open(address)

    serve(held, ready, loaded)
    sys.stdout.flush()
    os._exit(0)  # at once: an evaluation of a network may not be over, and torch takes seconds to be taken apart
