"""Simulated pressure in one room for many sources, as the surrogates are fitted to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml import FieldSpec, Region, Spec
from sciml_acoustics.pulse import gaussian_pulse, pulse_width

Array = NDArray[Any]


@dataclass(frozen=True)
class Medium:
    """Air and pulse: sound speed c (m/s), density rho (kg/m^3), band limit f_max (Hz), width sigma0 (m), peak (Pa)."""

    c: float = 343.0
    rho: float = 1.2
    f_max: float = 1000.0
    sigma0: float = 0.2184
    amplitude: float = 1.0


@dataclass(frozen=True)
class Waves:
    """Impulse responses of one room: what a solver gave, and a surrogate is fitted to or judged by.

    Parameters
    ----------
    source_position : (source, axis), m.
    node_position : (node, axis), m.
    node_weight : (node,), quadrature weights, m^d; they sum to the size of the room.
    time : (time,), s, uniform, starting at 0.
    pressure : (source, time, node), Pa; pressure[:, 0] is the initial pulse.
    medium : air and pulse.
    """

    source_position: Array
    node_position: Array
    node_weight: Array
    time: Array
    pressure: Array
    medium: Medium

    @property
    def n_axis(self) -> int:
        """Number of space dimensions."""
        return int(self.node_position.shape[1])

    def sources(self, index: Array | slice) -> Waves:
        """Return the same waves for a selection of sources."""
        return replace(self, source_position=self.source_position[index], pressure=self.pressure[index])

    def nodes(self, index: Array) -> Waves:
        """Return the same waves at a selection of nodes; the weights still sum to the size of the room."""
        weight = self.node_weight[index] * (self.node_weight.sum() / self.node_weight[index].sum())
        return replace(
            self, node_position=self.node_position[index], node_weight=weight, pressure=self.pressure[:, :, index]
        )

    def to_dataset(self) -> xr.Dataset:
        """Return variables with units in the layout that the readers of `sciml_datasets` give."""
        return xr.Dataset(
            {
                "pressure": (("source", "time", "node"), self.pressure, {"units": "Pa"}),
                "source_position": (("source", "axis"), self.source_position, {"units": "m"}),
                "node_position": (("node", "axis"), self.node_position, {"units": "m"}),
                "node_weight": (("node",), self.node_weight, {"units": f"m**{self.n_axis}"}),
            },
            coords={"time": ("time", self.time, {"units": "s"})},
            attrs=asdict(self.medium),
        )

    @classmethod
    def from_dataset(cls, data: xr.Dataset, f_max: float = 1000.0, where: str = "waves") -> Waves:
        """Return the waves of a dataset as read; nodes without weights count equally over their bounding box.

        The pulse must be Gaussian: where the files hold the sampled initial pressure, its peak is taken from there and
        its shape is checked. `f_max` (Hz) is used where the files say nothing; errors start with `where`.
        """
        for name in ("pressure", "source_position", "node_position", "time"):
            if name not in data.variables:
                got = ", ".join(sorted(map(str, data.variables)))
                raise ValueError(f"{where}: expected the variable {name!r}, got {got}; give files of room acoustics")
        attrs = data.attrs
        c, f_max = float(attrs.get("c", 343.0)), float(attrs.get("f_max", f_max))
        medium = Medium(
            c,
            float(attrs.get("rho", 1.2)),
            f_max,
            float(attrs.get("sigma0", pulse_width(f_max, c))),
            float(attrs.get("amplitude", 1.0)),
        )
        nodes = data["node_position"].values.astype(np.float64)
        source = data["source_position"].values.astype(np.float64)
        if "initial_pressure" in data:
            medium = replace(medium, amplitude=_peak(data, source, medium, where))
        weight = np.full(len(nodes), float(np.prod(np.ptp(nodes, axis=0))) / len(nodes))
        if "node_weight" in data:
            weight = data["node_weight"].values.astype(np.float64)
        time = data["time"].values.astype(np.float64)
        if len(time) < 4 or np.ptp(np.diff(time)) > 1e-3 * (time[1] - time[0]):
            raise ValueError(
                f"{where} time: expected four or more uniform times from the pulse on, got {time[:4]} s; resample"
            )
        if abs(time[0]) > 1e-3 * (time[1] - time[0]):
            raise ValueError(
                f"{where} time: expected the pulse at 0 s as first output, got {time[0]:g} s; shift the times"
            )
        if not (weight > 0.0).all():
            raise ValueError(f"{where} node_position: expected nodes that fill a room, got a flat one; drop that axis")
        pressure = data["pressure"].values.astype(np.float32)
        if not (np.isfinite(pressure).all() and pressure.any((1, 2)).all()):
            raise ValueError(
                f"{where} pressure: expected finite numbers, not all zero, got others; generate the files again"
            )
        return cls(source, nodes, weight, time - time[0], pressure, medium)

    def shares_nodes(self, other: Waves) -> bool:
        """Tell whether both were recorded at the same nodes in the same order."""
        own, theirs = self.node_position, other.node_position
        return own.shape == theirs.shape and np.allclose(own, theirs)


def _peak(data: xr.Dataset, source: Array, medium: Medium, where: str) -> float:
    """Return the peak of the sampled pulses (Pa); pulses of another shape than the Gaussian are refused."""
    pulse = gaussian_pulse(source, data["sensor_position"].values, medium.sigma0)
    sampled = data["initial_pressure"].values.astype(np.float64)
    peak = float((pulse * sampled).sum() / max((pulse**2).sum(), np.finfo(float).tiny))
    error = float(np.linalg.norm(sampled - peak * pulse) / max(np.linalg.norm(sampled), np.finfo(float).tiny))
    if error > 0.02 or peak == 0.0:
        raise ValueError(
            f"{where} initial_pressure: expected Gaussian pulses of width sigma0 = {medium.sigma0:.4g} m around the "
            f"source positions, got pulses that differ by {100 * error:.0f} %; check sigma0, f_max and source_position"
        )
    return peak


def room_spec(n_axis: int, boxes: Region | None, time: tuple[float, ...] | None = None) -> Spec:
    """Return the spec all acoustic operators share: positions of sources and receivers in, impulse responses out.

    Parameters
    ----------
    n_axis : number of space dimensions.
    boxes : the room; a source or receiver outside it is an error that names the point.
    time : fixed output times (s); None when the operator takes any `time` as an input.
    """
    if boxes is not None and boxes.n_dims != n_axis:
        raise ValueError(f"room_spec: expected boxes of {n_axis} dimensions, got {boxes.n_dims}")
    inputs = [
        FieldSpec("source_position", ("source", "axis"), "m", boxes, "centre of the initial pressure pulse"),
        FieldSpec("receiver_position", ("receiver", "axis"), "m", boxes, "where the pressure is wanted"),
    ]
    coords = {}
    if time is None:
        inputs.append(FieldSpec("time", ("time",), "s", Region.interval(0.0, np.inf), "output times after the pulse"))
    else:
        coords["time"] = ("s", time)
    output = FieldSpec("pressure", ("source", "receiver", "time"), "Pa", None, "sound pressure")
    return Spec(tuple(inputs), (output,), "source", coords)


def queries(source: Array, receiver: Array, time: Array) -> xr.Dataset:
    """Return the labelled inputs of an acoustic operator: positions (source|receiver, axis), m, and times, s."""
    return xr.Dataset(
        {
            "source_position": (("source", "axis"), np.asarray(source, float), {"units": "m"}),
            "receiver_position": (("receiver", "axis"), np.asarray(receiver, float), {"units": "m"}),
        },
        coords={"time": ("time", np.asarray(time, float), {"units": "s"})},
    )
