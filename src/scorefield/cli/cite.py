"""`scorefield cite`: BibTeX for what a run used."""

from __future__ import annotations

from typing import Annotated

import typer


def cite(
    used: Annotated[
        list[str],
        typer.Argument(help="Run folders, checkpoints, or names of parts: DDIM, DPS, ...", show_default=False),
    ],
) -> None:
    """Print BibTeX of the papers behind a run's schedule, target, network, loss, optimiser and data.

    Name what you sampled with too: scorefield cite runs/digits UniPC ClassifierFreeGuidance
    """
    from scorefield.citing import citations

    typer.echo(citations(*used), nl=False)
