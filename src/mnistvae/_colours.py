"""The colours of classes, in figures and on pages."""

from __future__ import annotations

__all__ = ["CLASS_COLOURS"]

#: Ten colours that are told apart by all kinds of colour vision, and in grey print: found by a search for the largest
#: least distance in Oklab, also as seen without red, green or blue cones (Machado et al., 2009), and in lightness.
CLASS_COLOURS = (
    *("#0e49ac", "#ff7100", "#2c4107", "#c88eff", "#995703"),
    *("#00e0d0", "#9800ff", "#dfd51d", "#520054", "#31958c"),
)
