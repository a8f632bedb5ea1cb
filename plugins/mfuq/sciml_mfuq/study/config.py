"""Settings of `sciml run mfuq`; every field carries its help and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sciml.config import setting
from sciml_mfuq.engines import CANDIDATES, ENGINES
from sciml_mfuq.study.functions import CASES

LOW_D = ("c1", "c2", "c3", "c4", "currin", "park", "borehole")


def _at_least(config: object, where: str, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < least:
            raise ValueError(f"{where}.{name}: expected at least {least}, got {value}; raise it")


def _known(given: tuple[str, ...], known: tuple[str, ...], where: str) -> None:
    if not given or len(set(given)) < len(given) or not set(given) <= set(known):
        raise ValueError(f"{where}: expected different ones of {', '.join(known)}, got {','.join(given)}; choose")


@dataclass(frozen=True)
class FunctionsConfig:
    """Test functions with known answers, and the engines that are compared on them."""

    cases: tuple[str, ...] = setting(("c1", "c2", "c3", "c4", "park", "borehole"), "functions; see the README")
    engines: tuple[str, ...] = setting(CANDIDATES, "engines among which the automatic choice is made")
    others: tuple[str, ...] = setting(("composite", "deep_ensemble", "dropout"), "engines that are shown beside them")
    n_seed: int = setting(1, "designs of each function; medians over them are reported")
    n_test: int = setting(2000, "fresh points on which errors are measured")

    def __post_init__(self) -> None:
        _known(self.cases, tuple(CASES), "functions.cases")
        _known(self.engines, tuple(ENGINES), "functions.engines")
        if self.others:
            _known(self.others, tuple(ENGINES), "functions.others")
        _at_least(self, "functions", 1, "n_seed")
        _at_least(self, "functions", 10, "n_test")


@dataclass(frozen=True)
class SpreadConfig:
    """How distributions and sensitivities of the outputs are computed."""

    n_sample: int = setting(2**16, "points that are pushed through a model")
    n_exact: int = setting(10**6, "points of the exact Monte Carlo on a function")
    n_sobol: int = setting(2**12, "rows of the samples behind Sobol indices")

    def __post_init__(self) -> None:
        _at_least(self, "spread", 64, "n_sample", "n_exact", "n_sobol")


@dataclass(frozen=True)
class AdaptiveConfig:
    """Runs that are bought one by one, against Latin hypercubes of the same cost."""

    cases: tuple[str, ...] = setting(("c1",), "functions on which adaptive sampling is tried")
    factor: float = setting(3.0, "largest cost, over that of the usual design")
    n_step: int = setting(3, "sizes of the hypercubes on the way there")

    def __post_init__(self) -> None:
        if self.cases:
            _known(self.cases, tuple(CASES), "adaptive.cases")
        _at_least(self, "adaptive", 2, "n_step")
        if not self.factor > 1:
            raise ValueError(f"adaptive.factor: expected more than 1, got {self.factor}; raise it")


@dataclass(frozen=True)
class AirfoilConfig:
    """An aerofoil by real programs: XFOIL, NeuralFoil and recorded runs of Nektar++."""

    airfoil: str = setting("0012", "four digits of the NACA series")
    n_low: int = setting(200, "runs of NeuralFoil")
    n_high: int = setting(30, "runs of XFOIL")
    n_test: int = setting(100, "runs of XFOIL that nothing is fitted to")
    angle_mean: float = setting(4.0, "mean angle of attack", "degree")
    angle_std: float = setting(1.0, "standard deviation of the angle of attack", "degree")

    def __post_init__(self) -> None:
        _at_least(self, "airfoil", 4, "n_low", "n_high", "n_test")
        if not self.angle_std > 0:
            raise ValueError(
                f"airfoil.angle_std: expected a positive number of degrees, got {self.angle_std}; raise it"
            )


@dataclass(frozen=True)
class FieldConfig:
    """Pressure on an aerofoil: many potential flows, few viscous ones."""

    n_low: int = setting(60, "runs of inviscid XFOIL")
    n_high: int = setting(14, "runs of viscous XFOIL")
    n_test: int = setting(60, "runs of viscous XFOIL that nothing is fitted to")
    n_seed: int = setting(1, "designs; medians over them are reported")

    def __post_init__(self) -> None:
        _at_least(self, "field", 4, "n_low", "n_high", "n_test")
        _at_least(self, "field", 1, "n_seed")


@dataclass(frozen=True)
class UrlsConfig:
    """Models behind UM-Bridge addresses as levels: each maps one vector of inputs to one vector of outputs."""

    urls: tuple[str, ...] = setting((), "addresses from the cheapest model to the truth: http://HOST:PORT/MODEL,...")
    n_run: tuple[int, ...] = setting((60, 12), "runs of each model")
    costs: tuple[float, ...] = setting((1.0, 50.0), "cost of one run of each model, in any unit")
    low: tuple[float, ...] = setting((0.0,), "least value of each input")
    high: tuple[float, ...] = setting((1.0,), "largest value of each input")
    output: int = setting(0, "which number of the output vector is wanted, from 0")
    n_test: int = setting(20, "runs of the truth that nothing is fitted to")
    n_parallel: int = setting(4, "requests at a time")
    engines: tuple[str, ...] = setting(CANDIDATES, "engines among which the automatic choice is made")

    def __post_init__(self) -> None:
        counts = {len(self.urls), len(self.n_run), len(self.costs)}
        if self.urls and (len(counts) > 1 or len(set(self.urls)) < len(self.urls)):
            got = f"{len(self.urls)}, {len(self.n_run)} and {len(self.costs)}"
            raise ValueError(f"urls: expected different addresses, each with its n_run and cost, got {got}; count")
        if not self.low or len(self.low) != len(self.high):
            got = f"{len(self.low)} and {len(self.high)}"
            raise ValueError(f"urls: expected as many low as high, one for each input, got {got}; count")
        _known(self.engines, tuple(ENGINES), "urls.engines")
        _at_least(self, "urls", 0, "output")
        _at_least(self, "urls", 1, "n_parallel")
        _at_least(self, "urls", 4, "n_test")


@dataclass(frozen=True)
class BenchConfig:
    """What `sciml bench mfuq` measures beyond a run."""

    cases: tuple[str, ...] = setting(LOW_D, "functions of few inputs, on which every engine and every peer is tried")
    large: tuple[str, ...] = setting(("n32", "n100", "d32", "d100"), "functions of many inputs")
    n_seed: int = setting(5, "designs of each function of few inputs")
    n_seed_large: int = setting(1, "designs of each function of many inputs")
    peer_timeout_s: float = setting(180.0, "after which a peer counts as without result", "s")
    n_repeat: int = setting(1000, "repeats of the estimators with a biased surrogate")
    n_predict: int = setting(1_200_000, "predictions that are timed")

    def __post_init__(self) -> None:
        _known(self.cases, tuple(CASES), "bench.cases")
        if self.large:
            _known(self.large, tuple(CASES), "bench.large")
        _at_least(self, "bench", 1, "n_seed", "n_seed_large", "n_predict")
        _at_least(self, "bench", 10, "n_repeat")


@dataclass(frozen=True)
class MfuqConfig:
    """Multi-fidelity uncertainty quantification: what is studied, and how much of it."""

    problem: Literal["functions", "airfoil", "cp-field", "urls"] = setting(
        "functions", "functions, airfoil, cp-field or urls"
    )
    n_worker: int = setting(2, "processes that fit models and run programs")
    functions: FunctionsConfig = setting(FunctionsConfig(), "test functions")
    spread: SpreadConfig = setting(SpreadConfig(), "distributions and sensitivities")
    adaptive: AdaptiveConfig = setting(AdaptiveConfig(), "adaptive sampling")
    airfoil: AirfoilConfig = setting(AirfoilConfig(), "lift and drag of an aerofoil")
    field: FieldConfig = setting(FieldConfig(), "pressure on an aerofoil")
    urls: UrlsConfig = setting(UrlsConfig(), "models behind addresses")
    bench: BenchConfig = setting(BenchConfig(), "comparison with peers")

    def __post_init__(self) -> None:
        if self.problem == "urls" and not self.urls.urls:
            raise ValueError("urls.urls: expected addresses from the cheapest model to the truth, got none; give them")
        if self.n_worker < 1:
            raise ValueError(f"n_worker: expected at least 1, got {self.n_worker}; the default is 2")


PRESETS = {
    "default": MfuqConfig(),
    "quick": MfuqConfig(
        functions=FunctionsConfig(cases=("c1", "c3"), engines=("gp", "cokriging", "nargp"), others=(), n_test=500),
        spread=SpreadConfig(n_sample=2**13, n_exact=10**5, n_sobol=2**9),
        adaptive=AdaptiveConfig(factor=1.5, n_step=2),
        airfoil=AirfoilConfig(n_low=40, n_high=10, n_test=20),
        field=FieldConfig(n_low=20, n_high=8, n_test=10),
        bench=BenchConfig(cases=("c1",), large=(), n_seed=1, n_repeat=50, n_predict=20_000),
    ),
}
