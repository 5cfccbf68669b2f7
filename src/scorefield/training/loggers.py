"""Other places to send the metrics to, behind one small protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """Told the numbers of every step; yours needs these two."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files for TensorBoard, in `folder`; needs the extra `tensorboard`.

    Raises:
        ValueError: if the extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise ValueError("logging to TensorBoard needs it: pip install 'scorefield[tensorboard]'") from None
        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A Weights & Biases run; needs the extra `wandb`. `options` are those of `wandb.init`.

    Raises:
        ValueError: if the extra is not installed.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        try:
            import wandb  # type: ignore[import-not-found]
        except ImportError:
            raise ValueError("logging to Weights & Biases needs it: pip install 'scorefield[wandb]'") from None
        self._run = wandb.init(dir=str(folder), **options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
