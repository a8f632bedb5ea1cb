"""Stores, splits, normalization, loaders, caches and cards of data sets, and readers of layouts that users hold.

Names are imported when first used, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml_datasets.cache import cached
    from sciml_datasets.card import DatasetCard, DatasetSource, Provenance, Sampling, check_card, read_card, write_card
    from sciml_datasets.loader import batches
    from sciml_datasets.normalize import Normalization
    from sciml_datasets.split import split_by, split_exactly
    from sciml_datasets.store import open_store, write_store

_HOMES = {
    "DatasetCard": "card",
    "DatasetSource": "card",
    "Normalization": "normalize",
    "Provenance": "card",
    "Sampling": "card",
    "batches": "loader",
    "cached": "cache",
    "check_card": "card",
    "open_store": "store",
    "read_card": "card",
    "split_by": "split",
    "split_exactly": "split",
    "write_card": "card",
    "write_store": "store",
}

__all__ = [
    "DatasetCard",
    "DatasetSource",
    "Normalization",
    "Provenance",
    "Sampling",
    "batches",
    "cached",
    "check_card",
    "open_store",
    "read_card",
    "split_by",
    "split_exactly",
    "write_card",
    "write_store",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
