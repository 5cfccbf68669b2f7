"""Storage: models as files, runs as folders of checkpoints, each whole or not there; nothing that is read can run."""

from scorefield.storage import weights
from scorefield.storage.models import Checkpoint, load, save

__all__ = ["Checkpoint", "load", "save", "weights"]
