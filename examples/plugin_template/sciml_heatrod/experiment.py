"""`sciml run heatrod`: sample the truth, fit in closed form, compare with a lookup, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from sciml import Experiment, Report, Results, Run, Surrogate, setting, training_domain
from sciml.experiment import content_hash
from sciml.report import new_figure
from sciml_heatrod.modes import fit_modes
from sciml_heatrod.series import Rod, Series


@dataclass(frozen=True)
class Config:
    """Sizes of the samples and of the surrogate."""

    n_train: int = setting(32, "training bumps, at Chebyshev points")
    n_test: int = setting(50, "held-out bumps, at random")
    n_modes: int = setting(32, "modes of the surrogate")
    n_degrees: int = setting(30, "polynomials in the centre of the bump")
    t_max: float = setting(200.0, "length of the window", "s")


class HeatRod(Experiment):
    """Heat conduction in a rod: a surrogate in closed form against the exact series."""

    @property
    def presets(self) -> Mapping[str, Config]:
        """default: a second; quick: less."""
        return {"default": Config(), "quick": Config(n_train=24, n_test=10, n_modes=24, n_degrees=22)}

    def run(self, config: Config, run: Run) -> Results:
        """Sample, fit, compare on bumps that the fit never saw, report."""
        truth, rod = Series(), Rod()
        low, high = rod.padding, rod.length - rod.padding
        held_out = np.random.default_rng(run.seed).uniform(low, high, config.n_test)
        known = (low + high) / 2.0 - (high - low) / 2.0 * np.cos(np.linspace(0.0, np.pi, config.n_train))
        train, test = (sample(truth, centre, config.t_max) for centre in (known, held_out))
        run.record(data_sha256=content_hash(train["temperature"].values))
        with run.progress.track(1, "fit in closed form") as update:
            network = fit_modes(train, config.n_modes, config.n_degrees, rod)
            update(1)
        surrogate = Surrogate(network, domain=training_domain(network.spec, train), provenance={"seed": run.seed})
        answers = {"surrogate": surrogate.predict(test)["temperature"].values, "lookup": lookup(train, held_out)}
        errors = {name: relative_l2(answer, test["temperature"].values) for name, answer in answers.items()}
        metrics = {
            "rel_l2": errors["surrogate"],
            "lookup_rel_l2": errors["lookup"],
            "surrogate_bytes": surrogate.n_bytes,
            "lookup_bytes": train["temperature"].nbytes,
        }
        return Results(metrics, tell(metrics, test, answers), surrogate)

    def bench(self, config: Config, run: Run) -> Results:
        """Compare with the peers; the run already holds the only one."""
        return self.run(config, run)


def sample(truth: Series, centre: np.ndarray, t_max: float) -> xr.Dataset:
    """Return inputs and true temperatures of bumps at `centre` (batch,), m."""
    inputs = xr.Dataset(
        {"centre": ("batch", centre, {"units": "m"})},
        coords={
            "position": ("position", np.linspace(0.0, truth.rod.length, 81), {"units": "m"}),
            "time": ("time", np.linspace(0.0, t_max, 21), {"units": "s"}),
        },
    )
    return inputs.merge(truth(inputs))


def lookup(train: xr.Dataset, centre: np.ndarray) -> np.ndarray:
    """Interpolate linearly between the training bumps: what one would use without a surrogate."""
    known, table = train["centre"].values, train["temperature"].values
    right = np.clip(np.searchsorted(known, centre), 1, len(known) - 1)
    share = ((centre - known[right - 1]) / (known[right] - known[right - 1]))[:, None, None]
    return np.asarray((1.0 - share) * table[right - 1] + share * table[right])


def relative_l2(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return ||p - q|| / ||q||."""
    return float(np.linalg.norm(predicted - truth) / np.linalg.norm(truth))


def tell(metrics: Mapping[str, float], test: xr.Dataset, answers: Mapping[str, np.ndarray]) -> Report:
    """Write the report: who wins, by how much, and what it looks like."""
    won = metrics["rel_l2"] < metrics["lookup_rel_l2"]
    report = Report("Heat in a rod", f"On held-out bumps the {'surrogate' if won else 'lookup'} is more accurate.")
    rows = [[n, metrics[e], metrics[b]] for n, e, b in (("surrogate", "rel_l2", "surrogate_bytes"),
                                                       ("linear lookup", "lookup_rel_l2", "lookup_bytes"))]  # fmt: skip
    report.table(
        ["method", "relative L2 error", "bytes"], rows, "Same held-out bumps for both.", highlight=int(not won)
    )
    figure, axes = new_figure()
    for step in (0, 2, 10):
        axes[0, 0].plot(test["position"], test["temperature"][0, step], label=f"{float(test['time'][step]):g} s")
        axes[0, 0].plot(test["position"], answers["surrogate"][0, step], "k:", linewidth=1.0)
    axes[0, 0].set(xlabel="position (m)", ylabel="temperature (K)", title="Truth, and the surrogate dotted over it")
    axes[0, 0].legend()
    report.figure("temperature", figure, "A held-out bump spreads.")
    return report
