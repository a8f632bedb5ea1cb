"""`sciml run cosmo`: the tasks of CosmoBench on its files, or on universes that are made here."""

from __future__ import annotations

from collections.abc import Mapping

from sciml import Experiment, Results, Run
from sciml_cosmo.config import PRESETS, CosmoConfig


class Cosmo(Experiment):
    """Parameters, velocities and lost mergers from haloes and merger trees, every baseline side by side."""

    @property
    def presets(self) -> Mapping[str, CosmoConfig]:
        """default: minutes on two cores; quick: a first look; default-params: 512 boxes and three seeds."""
        return PRESETS

    def run(self, config: CosmoConfig, run: Run) -> Results:
        """Make or read the data of the task, fit every method, judge on held-out simulations, report."""
        return run_task(config.task, config, run)

    def bench(self, config: CosmoConfig, run: Run) -> Results:
        """Measure kernels and generators against their peers, and the results of every task."""
        from sciml_cosmo.benchmark import benchmark

        return benchmark(config, run)


def run_task(task: str, config: CosmoConfig, run: Run) -> Results:
    """Run one of the tasks by its name."""
    if task == "velocity":
        from sciml_cosmo.velocity.task import run_task as run_velocity

        return run_velocity(config.velocity, run)
    if task == "parameters":
        from sciml_cosmo.parameters.task import run_task as run_parameters

        return run_parameters(config.parameters, run)
    if task == "trees":
        from sciml_cosmo.trees.parameters_task import run_task as run_trees

        return run_trees(config.trees, run)
    from sciml_cosmo.trees.infill_task import run_task as run_infill

    return run_infill(config.infill, run)
