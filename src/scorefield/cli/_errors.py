"""One line for any error."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """What went wrong, in one line, for a person."""
    if hasattr(error, "format_message"):  # typer's own: an unknown command or option, a missing or bad value
        text = _usage(error)
    elif isinstance(error, MemoryError) or _no_memory(error):
        text = "out of memory: try a smaller --n, batch or model"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, ValueError | FileNotFoundError) and str(error):  # ours
        text = str(error)
    else:  # not one of ours: say what it was, and how to see more
        text = f"{type(error).__name__}: {error} (--debug shows the traceback)"
    return " ".join(text.split())


def _no_memory(error: BaseException) -> bool:
    """Whether it is torch that has no memory, which says so in words of its own."""
    return isinstance(error, RuntimeError) and any(
        said in f"{type(error).__name__} {error}" for said in ("OutOfMemoryError", "can't allocate memory")
    )


def _usage(error: BaseException) -> str:
    text = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    if hasattr(error.__cause__, "errors"):  # pydantic's, which does not name the value in its message
        text += f"; got {error.__cause__.errors()[0]['input']!r}"  # type: ignore[union-attr]
    context = getattr(error, "ctx", None)
    hint = f" See {context.command_path} --help." if context is not None else ""
    return f"{text}{'' if text.rstrip().endswith('?') else '.'}{hint}"
