"""Verbs of a model by which people share models, under the names that Hugging Face's libraries made usual."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

__all__ = ["HubForm"]


def _hub() -> Any:
    """The module :mod:`mnistvae.hub`, which is of a higher rank: it needs models, and is found when it is called."""
    return import_module("mnistvae.hub")


class HubForm:
    """A model that can be kept in Hugging Face's form; :mod:`mnistvae.hub` has the functions behind the methods."""

    def save_pretrained(self, folder: str | os.PathLike[str], *, metadata: Mapping[str, Any] | None = None) -> Path:
        """Write the model in Hugging Face's form to a folder, see :func:`mnistvae.hub.save_pretrained`."""
        path: Path = _hub().save_pretrained(self, folder, metadata=metadata)
        return path

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        classes: Iterable[type[nn.Module]] = (),
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """A model from a folder or from the Hub, of this class, see :func:`mnistvae.hub.from_pretrained`."""
        model: Self = _hub().from_pretrained(name, cls, classes=classes, revision=revision, device=device)
        return model

    def push_to_hub(
        self,
        repo_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Upload a model by mnistvae",
    ) -> str:
        """Put the model on the Hub and return its address, see :func:`mnistvae.hub.push_to_hub`."""
        address: str = _hub().push_to_hub(
            self, repo_id, metadata=metadata, private=private, token=token, message=message
        )
        return address
