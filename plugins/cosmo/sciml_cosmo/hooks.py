"""What the cosmology plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run cosmo`."""
    summary = "Parameters, velocities and lost mergers from haloes and merger trees, every baseline side by side"
    return [Registration("cosmo", "sciml_cosmo.experiment:Cosmo", summary)]


@hookimpl
def sciml_datasets() -> list[Registration]:
    """Register generated boxes and merger trees."""
    needs = (("colossus",), "cosmo")
    return [
        Registration("cosmo.boxes", "sciml_cosmo.datasets:BOXES", "Haloes of 20 simulated boxes", *needs),
        Registration("cosmo.trees", "sciml_cosmo.datasets:TREES", "200 generated merger trees", *needs),
    ]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register what the tasks train."""
    return [
        Registration(
            "cosmo.equivariant_velocity",
            "sciml_cosmo.velocity.equivariant:EquivariantVelocity",
            "Velocities on top of linear theory",
        ),
        Registration(
            "cosmo.parameters", "sciml_cosmo.parameters.surrogate:CosmologyNet", "Omega_m and sigma_8 of a cloud"
        ),
        Registration("cosmo.trees", "sciml_cosmo.trees.network:TreeParameters", "Omega_m and sigma_8 of a merger tree"),
    ]
