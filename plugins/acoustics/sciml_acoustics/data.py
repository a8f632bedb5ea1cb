"""Simulated pressure in one room for many sources, as the surrogates are fitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciml import FieldSpec, Region, Spec

Array = NDArray[Any]


@dataclass(frozen=True)
class Medium:
    """Air and pulse: speed of sound c (m/s), density rho (kg/m^3), band limit f_max (Hz), pulse width sigma0 (m), peak (Pa)."""

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
        return Waves(
            self.source_position[index], self.node_position, self.node_weight, self.time, self.pressure[index], self.medium
        )


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
    """Return the labelled inputs of an acoustic operator: positions (source, axis), (receiver, axis) in m, times in s."""
    return xr.Dataset(
        {
            "source_position": (("source", "axis"), np.asarray(source, float), {"units": "m"}),
            "receiver_position": (("receiver", "axis"), np.asarray(receiver, float), {"units": "m"}),
        },
        coords={"time": ("time", np.asarray(time, float), {"units": "s"})},
    )
