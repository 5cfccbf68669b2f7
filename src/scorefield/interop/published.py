"""`from_pretrained` and `push_to_hub`, by the mixin of huggingface_hub (the extra [hub]).

Published(denoiser, meta, transform=transform).save_pretrained("folder")
Published.from_pretrained("folder" or "owner/name").denoiser
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

try:
    from huggingface_hub import ModelHubMixin, hf_hub_download
except ImportError:
    raise ImportError("from_pretrained and push_to_hub need huggingface_hub: pip install scorefield[hub]") from None

from scorefield.data import Transform
from scorefield.denoisers import NetworkDenoiser
from scorefield.interop import hub


class Published(ModelHubMixin, library_name=hub.LIBRARY):
    """A model with what its card says: `save_pretrained`, `push_to_hub` and `from_pretrained` are the mixin's.

    Args:
        denoiser, meta, transform, metrics, dataset: as of `hub.save`.
    """

    def __init__(
        self,
        denoiser: NetworkDenoiser,
        meta: Mapping[str, Any] | None = None,
        *,
        transform: Transform | None = None,
        metrics: Iterable[hub.Metric] = (),
        dataset: str = "data",
    ) -> None:
        self.denoiser, self.meta, self.transform = denoiser, dict(meta or {}), transform
        self.metrics, self.dataset = list(metrics), dataset

    def _save_pretrained(self, save_directory: Path) -> None:
        hub.save(
            save_directory,
            self.denoiser,
            self.meta,
            transform=self.transform,
            metrics=self.metrics,
            dataset=self.dataset,
        )

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **kwargs: Any,
    ) -> Published:
        folder = Path(model_id)
        if not folder.is_dir():
            options = {"revision": revision, "cache_dir": cache_dir, "force_download": force_download, "token": token}
            folder = Path(hf_hub_download(model_id, hub.WEIGHTS, local_files_only=local_files_only, **options)).parent
        found = hub.load(folder)
        return cls(found.denoiser, found.meta, transform=found.transform)
