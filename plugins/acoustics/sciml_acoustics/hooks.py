"""What the acoustics plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run acoustics`."""
    return [
        Registration(
            "acoustics",
            "sciml_acoustics.experiment:Acoustics",
            "Sound field in a room: surrogates against a wave solver",
        )
    ]


@hookimpl
def sciml_operators() -> list[Registration]:
    """Register the truth solvers."""
    return [
        Registration(
            "acoustics.sem", "sciml_acoustics.operators:SpectralElements", "Spectral-element wave solver, 1-D and 2-D"
        ),
        Registration(
            "acoustics.fdtd",
            "sciml_acoustics.operators:FiniteDifferences",
            "Finite-difference wave solver, a cross-check",
        ),
    ]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register the trainable maps from source and receiver to impulse response."""
    return [
        Registration(
            "acoustics.deeponet", "sciml_acoustics.deeponet:DeepONet", "The published DeepONet, defects behind options"
        ),
        Registration(
            "acoustics.two_step", "sciml_acoustics.two_step:TwoStep", "Closed-form linear branch, receiver-only trunk"
        ),
        Registration("acoustics.linear", "sciml_acoustics.linear:LinearOperator", "Closed-form ridge operator"),
        Registration(
            "acoustics.modal", "sciml_acoustics.modal:ModalOperator", "Room modes; runs past its training window"
        ),
    ]


@hookimpl
def sciml_datasets() -> list[Registration]:
    """Register what `sciml data make` generates."""
    return [
        Registration("acoustics.square", "sciml_acoustics.datasets:SQUARE", "Waves of many sources in a square room"),
        Registration(
            "acoustics.l_shape", "sciml_acoustics.datasets:L_SHAPE", "Waves of many sources in an L-shaped room"
        ),
    ]
