"""Small operators, networks and experiments with known mathematics, right and deliberately wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from sciml import Experiment, FieldSpec, Network, Operator, Region, Results, Spec, Surrogate, setting

SPEC = Spec(
    inputs=(
        FieldSpec("length", ("batch",), "m", Region.interval(0.1, 10.0), "length of the pendulum"),
        FieldSpec("time", ("time",), "s", Region.interval(0.0, 20.0)),
    ),
    outputs=(FieldSpec("angle", ("batch", "time"), "rad"),),
)


def pendulum_inputs(lengths=(0.5, 1.0, 2.0), times=(0.0, 0.25, 1.0, 2.0)):
    return xr.Dataset(
        {"length": ("batch", np.array(lengths), {"units": "m"})},
        coords={"time": ("time", np.array(times), {"units": "s"})},
    )


class Pendulum(Operator):
    """Small swings: angle(t) = 0.1 cos(sqrt(g / L) t)."""

    @property
    def spec(self):
        return SPEC

    def _apply(self, inputs):
        omega = np.sqrt(9.81 / inputs["length"])
        angle = (0.1 * np.cos(omega * inputs["time"])).transpose("batch", "time")
        return xr.Dataset({"angle": angle.assign_attrs(units="rad")})


class BatchDependent(Pendulum):
    def _apply(self, inputs):
        answer = super()._apply(inputs)
        return answer.assign(angle=(answer["angle"] - answer["angle"].mean("batch")).assign_attrs(units="rad"))


class Mutating(Pendulum):
    def _apply(self, inputs):
        answer = super()._apply(inputs)
        inputs["length"].values[...] += 1e-3
        return answer


class WrongUnit(Pendulum):
    def _apply(self, inputs):
        answer = super()._apply(inputs)
        return answer.assign(angle=answer["angle"].assign_attrs(units="m"))


class UnitBlind(Pendulum):
    """Takes the numbers as they come, whatever their unit."""

    def __call__(self, inputs):
        return self.spec.check_outputs(self._apply(inputs[["length", "time"]]))


class Restless(Pendulum):
    """Another answer at every call."""

    def __init__(self):
        self.n_calls = 0

    def _apply(self, inputs):
        self.n_calls += 1
        answer = super()._apply(inputs)
        return answer.assign(angle=(answer["angle"] * (1 + 1e-12 * self.n_calls)).assign_attrs(units="rad"))


class OrderSensitive(Pendulum):
    """Right one by one, wrong in the order of the batch."""

    def _apply(self, inputs):
        answer = super()._apply(inputs)
        weight = xr.DataArray(1.0 + 0.01 * np.arange(inputs.sizes["batch"]), dims="batch")
        return answer.assign(angle=(answer["angle"] * weight).assign_attrs(units="rad"))


class Smoothing(Operator):
    """u(q) = gain * integral of exp(-|q - x|) f(x) dx by the given quadrature."""

    discretization = "agnostic"

    @property
    def spec(self):
        return Spec(
            inputs=(
                FieldSpec("f", ("batch", "node"), "Pa"),
                FieldSpec("x", ("node",), "m"),
                FieldSpec("weight", ("node",), "m"),
                FieldSpec("query", ("query",), "m"),
                FieldSpec("gain", ("batch",), "1"),
            ),
            outputs=(FieldSpec("u", ("batch", "query"), "Pa m"),),
        )

    def weights(self, inputs):
        return inputs["weight"].values

    def _apply(self, inputs):
        kernel = np.exp(-(np.abs(inputs["query"].values[:, None] - inputs["x"].values) ** 2))
        # a sum in a fixed order, whatever the size of the batch
        u = (kernel * self.weights(inputs) * inputs["f"].values[:, None, :]).sum(-1) * inputs["gain"].values[:, None]
        return xr.Dataset({"u": (("batch", "query"), u, {"units": "Pa m"})}, coords={"query": inputs["query"]})


class Averaging(Smoothing):
    """The classical mistake: the mean over samples instead of the integral."""

    def weights(self, inputs):
        return np.full(inputs.sizes["node"], 1.0 / inputs.sizes["node"])


class Boastful(Pendulum):
    discretization = "agnostic"


BROKEN = {
    BatchDependent: "a batch gives what its members give one by one",
    Mutating: "the inputs are left unchanged",
    WrongUnit: "the outputs fit the spec",
    UnitBlind: "inputs in another unit give the same answer",
    Restless: "the same inputs give the same result",
    OrderSensitive: "a permuted batch gives the permuted answer",
    Boastful: "an 'agnostic' operator converges",
    Averaging: "an 'agnostic' operator converges",
}


class Affine(Network):
    """value = x . w + b with a standard error softplus(s) |x|^2: smooth, with vector bounds and a fixed output axis."""

    registered = "toy.affine"

    def __init__(self, n_features=3, times=(0.0, 0.5)):
        super().__init__()
        self._config = {"n_features": n_features, "times": list(times)}
        generator = torch.Generator().manual_seed(101)
        self.weight = torch.nn.Parameter(torch.randn(2, n_features, generator=generator))
        self.bias = torch.nn.Parameter(torch.randn(n_features, generator=generator))
        self.mix = torch.nn.Parameter(torch.randn(n_features, len(times), generator=generator))
        self.register_buffer("spread", torch.tensor(0.1))

    @property
    def spec(self):
        room = Region((((0.0, 0.0), (4.0, 2.0)), ((0.0, 0.0), (1.0, 5.0))))  # an L-shaped room
        return Spec(
            inputs=(
                FieldSpec("position", ("batch", "axis"), "m", room),
                FieldSpec("speed", ("batch",), "m s-1", Region.interval(0.0, float("inf"))),
            ),
            outputs=(
                FieldSpec("pressure", ("batch", "time"), "Pa"),
                FieldSpec("pressure_std", ("batch", "time"), "Pa"),
            ),
            coords={"time": ("s", self._config["times"])},
        )

    @property
    def config(self):
        return self._config

    def forward(self, position, speed):
        hidden = torch.tanh(position @ self.weight + self.bias) * speed[:, None]
        mean = hidden @ self.mix
        return {"pressure": mean, "pressure_std": self.spread * torch.nn.functional.softplus(mean)}


class WrongGradient(Affine):
    registered = "toy.wrong_gradient"

    def forward(self, position, speed):
        return super().forward(position.detach() * 0.5 + position * 0.5, speed)


class NegativeError(Affine):
    registered = "toy.negative_error"

    def forward(self, position, speed):
        outputs = super().forward(position, speed)
        return {**outputs, "pressure_std": -outputs["pressure_std"]}


class Normalizing(Affine):
    """The classical mistake: statistics of the batch in evaluation."""

    registered = "toy.normalizing"

    def forward(self, position, speed):
        return super().forward(position - position.mean(0), speed)


class Opaque(Affine):
    registered = "toy.opaque"

    @property
    def config(self):
        return {**self._config, "n_features": np.int64(self._config["n_features"])}


NETWORKS = (Affine, WrongGradient, NegativeError, Normalizing, Opaque)


def affine_inputs(n=4):
    rng = np.random.default_rng(23)
    return xr.Dataset(
        {
            "position": (("batch", "axis"), rng.uniform(0, 1, (n, 2)), {"units": "m"}),
            "speed": ("batch", rng.uniform(1, 2, n), {"units": "m s-1"}),
        }
    )


@dataclass(frozen=True)
class Fit:
    degree: int = setting(2, "degree of the polynomial")
    ridge: float = setting(1e-9, "penalty on the coefficients")


@dataclass(frozen=True)
class ToyConfig:
    n_samples: int = setting(40, "samples of the exponential")
    length: float = setting(1.0, "length of the interval", unit="m")
    fit: Fit = setting(Fit(), "polynomial")
    kinds: tuple[str, ...] = setting(("a", "b"), "labels")
    note: str | None = setting(None, "a remark")


class Toy(Experiment):
    """Fit exp(x) by a polynomial in two stages; `stop_after` kills the run between them."""

    stop_after = False

    @property
    def presets(self):
        default = ToyConfig()
        return {"default": default, "quick": dataclasses.replace(default, n_samples=20)}

    def run(self, config, run):
        from sciml import Report
        from sciml.artifact import read_json, write_json

        stage = run.checkpoint("samples.json")
        if not stage.exists():
            rng = np.random.default_rng(run.seed)
            write_json(stage, sorted(rng.uniform(0, config.length, config.n_samples).tolist()))
        if Toy.stop_after:
            raise KeyboardInterrupt
        x = np.array(read_json(stage))
        residual = np.polynomial.Polynomial.fit(x, np.exp(x), config.fit.degree)(x) - np.exp(x)
        run.record(data_hash="abc")
        metrics = {"rmse": float(np.sqrt(np.mean(residual**2))), "n": len(x)}
        return Results(metrics=metrics, report=Report("Toy"), surrogate=Surrogate(Affine()))

    def bench(self, config, run):
        return self.run(config, run)


class Failing(Toy):
    def run(self, config, run):
        raise RuntimeError("the solver diverged")
