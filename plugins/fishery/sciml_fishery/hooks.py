"""What the fishery plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


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
        "smoothed": ("SmoothedPolicy", "A policy smoothed by a Gaussian process"),
    }
    return [
        Registration(f"fishery.{name}", f"sciml_fishery.policies:{kind}", summary)
        for name, (kind, summary) in families.items()
    ]
