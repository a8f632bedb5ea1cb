"""What the cosmology plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run cosmo`."""
    summary = "Parameters, velocities and lost mergers from haloes and merger trees, every baseline side by side"
    return [Registration("cosmo", "sciml_cosmo.experiment:Cosmo", summary)]
