"""What the couplings register; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_couplings() -> list[Registration]:
    """Register the programs that a surrogate can be written for."""
    return [
        Registration("couplings.c", "sciml_couplings.c_export:to_c", "C, C++ and Fortran programs, compiled"),
        Registration("couplings.cffi", "sciml_couplings.cffi_embed:to_cffi", "The same header, run by Python", ("cffi",)),
    ]
