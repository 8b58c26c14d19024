"""Trained models that ship with the package, each with a card that says how it was made and how good it is."""

from __future__ import annotations

from mnistvae.zoo.cards import ModelCard, card
from mnistvae.zoo.models import names, pretrained

__all__ = ["ModelCard", "card", "names", "pretrained"]
