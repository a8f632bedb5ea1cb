"""What the solvers plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run solvers`."""
    return [
        Registration(
            "solvers",
            "sciml_solvers.experiment:Solvers",
            "Pressure solvers: multigrid, a learned cycle, learned directions",
        )
    ]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register the networks that propose directions and the one that sets a multigrid cycle."""
    return [
        Registration("solvers.dcdm", "sciml_solvers.dcdm_net:DcdmNet", "Search directions by a convolutional network"),
        Registration("solvers.mlpcg", "sciml_solvers.mlpcg:MlpcgNet", "Search directions, linear, from flags of cells"),
        Registration(
            "solvers.learned_cycle", "sciml_solvers.learned:LearnedCycle", "Parameters of a positive multigrid cycle"
        ),
    ]
