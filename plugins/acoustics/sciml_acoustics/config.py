"""Settings of `sciml run acoustics`; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass

from sciml.config import setting
from sciml_acoustics.deeponet import DeepONetOptions
from sciml_acoustics.deeponet_fit import DeepONetFit


def _check(config: object, where: str, positive: tuple[str, ...], counts: tuple[str, ...]) -> None:
    """Refuse settings that are not positive, and counts below one; the sentence has the name that --set takes."""
    for name in (*positive, *counts):
        value = getattr(config, name)
        if not value > 0:
            kind = "a count of at least 1" if name in counts else "a positive number"
            raise ValueError(f"{where + '.' if where else ''}{name}: expected {kind}, got {value}; raise it")


@dataclass(frozen=True)
class SolverConfig:
    """The spectral-element solver that makes training and test data."""

    impedance: float = setting(17.98, "normalised specific impedance of all walls; inf is rigid")
    f_max: float = setting(1000.0, "band limit of the pulse", "Hz")
    t_max: float = setting(0.05, "length of the training window", "s")
    order: int = setting(6, "polynomial degree of the elements")
    ppw: float = setting(7.0, "nodes per shortest wavelength")
    source_ppw: float = setting(5.0, "training sources per shortest wavelength")
    padding: float = setting(0.6, "distance of every source from the walls", "m")
    n_test: int = setting(45, "held-out sources, at random positions")
    t_long: float = setting(0.2, "length of the window that extrapolation is judged on", "s")
    n_long: int = setting(10, "held-out sources that extrapolation is judged on")

    def __post_init__(self) -> None:
        _check(self, "solver", ("impedance", "f_max", "t_max", "ppw", "source_ppw"), ("order", "n_test", "n_long"))
        if self.padding < 0.0 or self.t_max * self.f_max < 2.0 or self.t_long <= self.t_max:
            raise ValueError(
                "solver: expected padding >= 0 m, t_max of two periods of f_max or more, and t_long beyond t_max, got "
                f"{self.padding:g} m, {self.t_max:g} s at {self.f_max:g} Hz and {self.t_long:g} s; change them together"
            )


@dataclass(frozen=True)
class FitConfig:
    """The surrogates that are fitted."""

    band: float = setting(1.6, "wave numbers represented, relative to that of f_max")
    margin: float = setting(0.6, "widening of the cosine frame, in shortest wavelengths")
    sensor_ppw: float = setting(3.0, "points per shortest wavelength at which the pulse is sampled")
    tolerance: float = setting(5e-4, "share of the training waves' norm that the subspace may leave out")
    max_rank: int = setting(400, "largest number of spatial modes")
    linear_rank: int = setting(100, "source coefficients of the linear operator")
    two_step_rank: int = setting(80, "source coefficients of the two-step operator")
    two_step_steps: int = setting(60, "optimization steps of the two-step trunk")

    def __post_init__(self) -> None:
        counts = ("max_rank", "linear_rank", "two_step_rank", "two_step_steps")
        _check(self, "fits", ("band", "sensor_ppw"), counts)
        if not 0.0 <= self.tolerance < 1.0 or not self.margin >= 0.0:
            got = f"{self.tolerance} and {self.margin}"
            raise ValueError(f"fits: expected 0 <= tolerance < 1 and margin >= 0, got {got}; see sciml show acoustics")


@dataclass(frozen=True)
class AcousticsConfig:
    """One room, its data, and what is fitted to them."""

    data: str | None = setting(None, "folder with your own data (one HDF5 file per source); none simulates")
    room: str = setting("auto", "square, rectangle, l_shape, furnished; auto: square, or the box around your data")
    n_receivers: int = setting(200, "random receivers off the nodes")
    solver: SolverConfig = setting(SolverConfig(), "solver")
    fits: FitConfig = setting(FitConfig(), "fits")
    deeponet: DeepONetOptions = setting(DeepONetOptions(width=256), "published network")
    deeponet_fit: DeepONetFit = setting(DeepONetFit(budget_cpu_s=60.0, every=20), "published training")
    mended: DeepONetOptions = setting(
        DeepONetOptions(width=256, fixes=("linear_branch", "siren_hidden")), "the network with its defects mended"
    )
    mended_fit: DeepONetFit = setting(
        DeepONetFit(n_sources=None, n_coordinates=2000, budget_cpu_s=60.0, every=20, fixes=("shared_coordinates",)),
        "training with coordinates shared by all sources",
    )

    def __post_init__(self) -> None:
        _check(self, "", (), ("n_receivers",))


PRESETS = {
    "default": AcousticsConfig(),
    "quick": AcousticsConfig(
        n_receivers=60,
        solver=SolverConfig(source_ppw=4.0, n_test=12, n_long=4),
        fits=FitConfig(two_step_steps=12),
        deeponet_fit=DeepONetFit(budget_cpu_s=10.0, every=10),
        mended_fit=DeepONetFit(
            n_sources=None, n_coordinates=2000, budget_cpu_s=10.0, every=10, fixes=("shared_coordinates",)
        ),
    ),
    "paper-2d": AcousticsConfig(
        deeponet=DeepONetOptions(),
        deeponet_fit=DeepONetFit(),
        mended=DeepONetOptions(fixes=("linear_branch", "siren_hidden")),
        mended_fit=DeepONetFit(n_sources=None, n_coordinates=2000, fixes=("shared_coordinates",)),
        fits=FitConfig(two_step_steps=400),
    ),
}
