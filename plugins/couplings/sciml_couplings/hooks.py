"""What the couplings register; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_couplings() -> list[Registration]:
    """Register the programs that a surrogate can be written for."""
    return []
