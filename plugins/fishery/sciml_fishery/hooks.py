"""What the fishery plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run fishery`."""
    summary = "Harvest policies of every family against the true optimum, and a rule a manager can read"
    return [Registration("fishery", "sciml_fishery.experiment:Fishery", summary)]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register the families of policies."""
    families = {
        "constant_mortality": ("ConstantMortality", "The same fraction of each stock every year"),
        "constant_escapement": ("ConstantEscapement", "All that exceeds a level"),
        "hockey_stick": ("HockeyStick", "A fraction that rises between two stocks"),
        "predator_escapement": ("PredatorEscapement", "Levels that depend on the predator: twelve readable numbers"),
        "network": ("NeuralPolicy", "A perceptron of log stocks"),
        "table": ("TablePolicy", "Fractions on a grid of stocks"),
    }
    return [
        *(Registration(f"fishery.{name}", f"sciml_fishery.policies:{kind}", s) for name, (kind, s) in families.items()),
        Registration(
            "fishery.sell_out",
            "sciml_fishery.sell_out:SellOutEscapement",
            "Levels that depend on the predator, a giving-up threshold and a terminal sell-out",
        ),
        Registration("fishery.smoothed", "sciml_fishery.smoothing:SmoothedPolicy", "Smoothed by a Gaussian process"),
        Registration("fishery.optimal", "sciml_fishery.dp:OptimalPolicy", "What dynamic programming prescribes"),
    ]
