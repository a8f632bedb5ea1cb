"""What the plugin registers; imported by every `sciml` command, so nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run heatrod`."""
    return [Registration("heatrod", "sciml_heatrod.experiment:HeatRod", "Heat in a rod: modes fitted in closed form")]


@hookimpl
def sciml_operators() -> list[Registration]:
    """Register the truth."""
    return [Registration("heatrod.series", "sciml_heatrod.series:Series", "Exact series for a Gaussian bump of heat")]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register the trainable map."""
    return [Registration("heatrod.modes", "sciml_heatrod.modes:Modes", "Modes whose strength is a polynomial")]
