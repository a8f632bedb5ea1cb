"""`sciml run mfuq`: several fidelities of a function, of an aerofoil, of the pressure on it, or behind addresses."""

from __future__ import annotations

from collections.abc import Mapping

from sciml import Experiment, Results, Run
from sciml_mfuq.study.config import PRESETS, MfuqConfig


class MultiFidelityUq(Experiment):
    """Predictions, distributions and advice from many cheap runs and a few costly ones."""

    @property
    def presets(self) -> Mapping[str, MfuqConfig]:
        """default: minutes on two cores; quick: a first look."""
        return PRESETS

    def run(self, config: MfuqConfig, run: Run) -> Results:
        """Fit the engines, choose, judge on fresh points, push laws through, report."""
        if config.problem == "airfoil":
            from sciml_mfuq.study.run_airfoil import study_airfoil

            return study_airfoil(config, run)
        if config.problem == "cp-field":
            from sciml_mfuq.study.run_field import study_field

            return study_field(config, run)
        if config.problem == "urls":
            from sciml_mfuq.study.run_urls import study_urls

            return study_urls(config, run)
        from sciml_mfuq.study.run_functions import study_functions

        return study_functions(config, run)

    def bench(self, config: MfuqConfig, run: Run) -> Results:
        """Measure every engine and the peers on every function, on the same runs, and the other key numbers."""
        from sciml_mfuq.study.benchmark import benchmark

        return benchmark(config, run)
