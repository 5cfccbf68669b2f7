"""`scorefield sample`: pictures and arrays out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scorefield.catalogue import SOLVERS, known
from scorefield.cli import _options as opt
from scorefield.cli import _shards
from scorefield.cli._output import TABLES, at_a_terminal, note, result_files, stem, warn

if TYPE_CHECKING:
    from scorefield.runs import Trained

_NOTICEABLE = 0.01  # of the standard deviation
_DYNAMIC = 0.995  # Saharia et al. 2022
_CLIPS = {"range": None, "dynamic": _DYNAMIC}


def sample(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint file.", show_default=False)],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Number of samples.")] = 64,
    solver: Annotated[
        str | None,
        typer.Option("--solver", help=f"One of: {', '.join(SOLVERS)}. [default: the best known for --nfe]"),
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option("--nfe", min=1, help="Network evaluations a sample. [default: 30; `adaptive` finds its own]"),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="Class, by name or number; repeat it for several in turn. Without it, no class is asked for.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="Caption, for a model trained on text; repeat it for several in turn."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", help="Weight of label or text: 1 the plain conditional model, 0 the unconditional."),
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--guidance-interval", help="Guide where sigma / alpha lies between these two, and not elsewhere."
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            "--classifier", help="Guide by this run of `train --task classifier`, not by the model's own label."
        ),
    ] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            help="Keep predictions in the data's range: `range` cuts them off, `dynamic` draws a picture in with its "
            f"{_DYNAMIC:g} quantile, for strong guidance.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Sample i depends on the seed and i alone.")] = 0,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, ... [default: the best there is]")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="PNG to write, with an .npz beside it; or .csv, .tsv or .parquet, of a table; or a folder/, for any "
            "number, in shards. [default: in the run]",
            show_default=False,
        ),
    ] = None,
    json: opt.Json = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
    tuned: Annotated[
        bool, typer.Option("--tuned/--no-tuned", help="Use what `scorefield tune` kept in the run.")
    ] = True,
    kind: opt.Kind = None,
    shard: opt.Shard = None,
    chunk: opt.Chunk = None,
) -> None:
    """Sample a trained model with any solver: a PNG, and the numbers as .npz; of a table, a table as it came."""
    solver = None if solver is None else known("solver", solver, SOLVERS)
    clip = None if clip is None else known("--clip", clip, _CLIPS)
    if cut := _shards.asked(out, json, overwrite, kind, shard, chunk):
        assert out is not None
        how = {
            "guidance": guidance, "interval": guidance_interval, "clip": clip,
            "classifier": None if classifier is None else str(classifier),
        }  # fmt: skip
        asked = _shards.Asked(n, seed, nfe, solver, tuple(label or ()), tuple(text or ()))
        _shards.samples(
            run, out, asked, cut, lambda r: _adapted(r, guidance, guidance_interval, classifier, asked, clip), how,
            device,
        )  # fmt: skip
        return
    named = stem(
        "samples", seed, solver=solver or "recommended", nfe=nfe, label=label, text=text, guidance=guidance,
        interval=None if guidance_interval is None else list(guidance_interval),
        classifier=None if classifier is None else classifier.stem, clip=clip,
    )  # fmt: skip
    files = result_files(out, run, named, overwrite, json, (".png", ".npz"), tables=True)
    as_table = files.picture.suffix.lower() in TABLES

    from scorefield import plots
    from scorefield.cli import _results
    from scorefield.plots import samples
    from scorefield.plots.series import lengths
    from scorefield.runs import captions, labels, load, tables
    from scorefield.solvers import Tuned

    loaded = load(run, warn=warn)
    if as_table and loaded.look.table is None:
        raise ValueError(
            f"--out {files.picture}: this run's samples are of shape {loaded.event_shape}, and no table; give a .png, "
            "which gets an .npz beside it"
        )
    model = _guided(loaded, guidance, guidance_interval, classifier, bool(label), bool(text)).to(device)
    guided = model.model is not loaded.model
    model = _clipped(model, clip)
    asked = labels(label, n, model.num_classes, names=model.class_names, called="--label")
    told = captions(text, n, loaded.meta.get("text"), called="--text")
    files.claim()
    drawn = model.sample(
        n, label=asked, cond=told, solver=solver, nfe=nfe, seed=seed, tuned=tuned,
        progress=at_a_terminal() and not files.quiet, warn=note,
    )  # fmt: skip
    written = [files.picture]
    if as_table:
        tables.write(files.picture, drawn.table)
    else:
        figure = samples.of_samples(drawn.raw, loaded.transform, loaded.look, drawn.label)
        written = [*([] if figure is None else [files.picture]), files.file(".npz")]
        if figure is not None:
            plots.save(figure, files.picture)
        numbers = {"samples": drawn.x, "raw": drawn.raw, "seed": seed, "nfe": drawn.nfe}
        if loaded.look.masked:
            numbers["length"] = lengths(drawn.raw, loaded.look)
        _results.save_npz(written[-1], **numbers, **({} if drawn.label is None else {"label": drawn.label}))
    how = (
        ", tuned"
        if drawn.stepped and isinstance(drawn.solver, Tuned)
        else ", guided" * guided + ", clipped" * (clip is not None)
    )
    if json is not None:
        summary = {
            "run": str(run), "checkpoint": loaded.checkpoint, "n": n, "nfe": drawn.nfe, "solver": solver, "seed": seed,
            "tuned": how == ", tuned", "label": None if asked is None else asked.tolist(), "text": text,
            "guidance": guidance, "clip": clip,
            "files": [str(path) for path in written],
            "bias": drawn.bias._asdict() if drawn.stepped else None,
        }  # fmt: skip
        _results.write_summary(files, summary)
    said = [str(written[0]), *(path.name for path in written[1:])]
    if not files.quiet:
        typer.echo(f"{n} samples, {drawn.nfe} evaluations each{how}: {', '.join(said)}")
    off = drawn.bias.std - 1 if drawn.stepped else 0.0
    if abs(off) > _NOTICEABLE and not files.quiet:
        typer.echo(
            f"note: with {solver or 'the default'} at --nfe {drawn.nfe} the steps alone make Gaussian data of this "
            f"model's variance {abs(off):.1%} too {'wide' if off > 0 else 'narrow'}; a larger --nfe makes it less"
        )


def _adapted(
    run: Trained,
    weight: float | None,
    interval: tuple[float, float] | None,
    classifier: Path | None,
    asked: _shards.Asked,
    clip: str | None,
) -> Trained:
    """The run with the guidance and the clipping asked for."""
    return _clipped(_guided(run, weight, interval, classifier, bool(asked.label), bool(asked.text)), clip)


def _clipped(run: Trained, clip: str | None) -> Trained:
    if clip is None:
        return run
    if run.denoiser.data_range is None:
        raise ValueError("--clip is for data of a known range, as pictures have; this model's have none")
    return run.clipped(dynamic=_CLIPS[clip])


def _guided(
    run: Trained,
    weight: float | None,
    interval: tuple[float, float] | None,
    classifier: Path | None,
    labelled: bool,
    captioned: bool,
) -> Trained:
    """The run with the guidance asked for, itself if none was.

    Raises:
        ValueError: without a condition or a weight; as `Trained.guided`.
    """
    if weight is None and interval is None and classifier is None:
        return run
    if not labelled and (classifier is not None or not captioned):
        raise ValueError("guidance needs a class to guide to: give --label, or --text to a model of captions")
    if interval is not None and (weight is None or classifier is not None):
        raise ValueError("--guidance-interval goes with --guidance, and with the model's own label")
    if classifier is None and run.num_classes is None and not captioned:
        raise ValueError("--guidance was given, but this model was trained without labels; see --classifier")
    from scorefield.runs import load

    by = None if classifier is None else load(classifier, warn=warn)
    return run.guided(1.0 if weight is None else weight, interval=interval, classifier=by)
