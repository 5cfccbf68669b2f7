"""Where a model runs."""

from __future__ import annotations

import torch


def device_of(name: torch.device | str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        ValueError: if this machine has none of that name.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise ValueError(f"device {str(name)!r} can't be used here: {reason}") from None
    return device
