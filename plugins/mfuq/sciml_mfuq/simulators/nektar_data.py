"""The recorded runs of Nektar++ as a data set with a card, for `sciml data make` and `sciml data check`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from sciml_datasets import DatasetCard, Provenance, Sampling, write_store

from sciml import FieldSpec, Region
from sciml.progress import Progress
from sciml_mfuq.simulators.airfoil import COEFFICIENTS, MEANINGS
from sciml_mfuq.simulators.nektar import RECORDED_REYNOLDS, recorded_text
from sciml_mfuq.simulators.nektar_forces import read_forces

# file, angle of attack (degree), modes per direction, time step
RUNS = (
    ("alpha_0", 0.0, 4, 0.002),
    ("alpha_4", 4.0, 4, 0.002),
    ("alpha_8", 8.0, 4, 0.002),
    ("alpha_4_order5", 4.0, 5, 0.001),
)
END_TIME, MEAN_AFTER = 14.0, 10.0
POSITIVE = Region.interval(0.0, np.inf)

BODY = """## Equations

The incompressible Navier-Stokes equations for velocity u and pressure p around NACA 0012, chord 1, in two dimensions:

    u_t + (u . grad) u = -grad p + (1 / Re) lap u,    div u = 0,    Re = 1000
    u = 0                                             on the aerofoil
    u = (cos a, sin a) (1 - exp(-4 t))                at the inflow
    p = 0, du/dn = 0                                  at the outflow

at rest at t = 0, with a high-order condition for p on the aerofoil and at the inflow. a is the angle of attack.
Length, speed and density are those of the chord, the inflow and the fluid: all numbers are plain.

## Coefficients

Means over the records after t = 10, with the forces F along x and y and the moment M about the leading edge:

    C_l = 2 (F_y cos a - F_x sin a),    C_d = 2 (F_x cos a + F_y sin a),    C_m = 2 (F_y / 4 - M)

## Use

The lift of a run is uncertain by 0.01: at no angle it is 0.0098 where symmetry asks for zero. Drag and moment are
uncertain by 0.001: the run with five modes and half the time step differs by 0.0011 in drag. A fit must not follow
these numbers more closely than that.
"""


@dataclass(frozen=True)
class NektarRuns:
    """Four recorded runs, three angles and a finer one at 4 degrees; a `sciml_datasets.DatasetSource`.

    *Contract*: the files hold what was recorded, whatever the seed.
    """

    @property
    def card(self) -> DatasetCard:
        """Equations, variables with units, license, generator, cost, grid and split."""
        return DatasetCard(
            "mfuq.nektar",
            "Forces on NACA 0012 at Reynolds number 1000 from a spectral/hp element solver",
            Provenance(
                "MIT",
                "recorded runs of this project's own session and mesh; solver: Cantwell et al., CPC 192 (2015) 205",
                "Nektar++ 5.3.0 IncNavierStokesSolver with the sessions of sciml_mfuq.simulators.nektar_session",
                "72 to 89 s of one CPU core per run with four modes; reading the records takes no time",
            ),
            Sampling(
                "batch",
                {"all": len(RUNS)},
                {"mesh": "762 triangles, composites C[0] to C[3]", "n_times": 201, "time_between_records": 0.07},
            ),
            _fields(),
            BODY.strip(),
        )

    def make(self, folder: Path, *, seed: int, progress: Progress | None = None) -> None:
        """Write `all.nc` into `folder`; nothing is random, nothing takes long: `seed` and `progress` do not count."""
        write_store(Path(folder) / "all.nc", recorded_runs())


def recorded_runs() -> xr.Dataset:
    """Return the recorded runs: forces and moment (batch, time, ...), coefficients, conditions, numerics (batch,)."""
    runs = [read_forces(recorded_text(f"{name}.fce"), END_TIME) for name, *_ in RUNS]
    coefficients = np.stack([run.coefficients(row[1], MEAN_AFTER) for run, row in zip(runs, RUNS, strict=True)])
    names, angles, n_modes, steps = (list(column) for column in zip(*RUNS, strict=True))
    values = {
        "angle_of_attack": angles,
        "reynolds": np.full(len(RUNS), RECORDED_REYNOLDS),
        "n_modes": n_modes,
        "time_step": steps,
        "force": np.stack([run.force for run in runs]),
        "moment": np.stack([run.moment for run in runs]),
        "time": runs[0].time,
        **{name: coefficients[:, i] for i, name in enumerate(COEFFICIENTS)},
    }
    fields = {field.name: field for field in _fields()}
    data = {
        name: (fields[name].dims, value, {"units": fields[name].unit, "long_name": fields[name].description})
        for name, value in values.items()
    }
    labels = {"simulation": ("batch", names), "axis": ["x", "y"], "part": ["pressure", "viscous"]}
    return xr.Dataset(data, coords=labels).set_coords("time")


def _fields() -> tuple[FieldSpec, ...]:
    return (
        FieldSpec("angle_of_attack", ("batch",), "degree", None, MEANINGS["angle_of_attack"]),
        FieldSpec("reynolds", ("batch",), "1", POSITIVE, MEANINGS["reynolds"]),
        FieldSpec("n_modes", ("batch",), "1", POSITIVE, "modes per direction of an element"),
        FieldSpec("time_step", ("batch",), "1", POSITIVE, "in chords over inflow speed"),
        FieldSpec("force", ("batch", "time", "axis", "part"), "1", None, "on the aerofoil, along and across the chord"),
        FieldSpec("moment", ("batch", "time", "part"), "1", None, "about the leading edge, counterclockwise"),
        FieldSpec("time", ("time",), "1", POSITIVE, "in chords over inflow speed"),
        *(FieldSpec(name, ("batch",), "1", None, MEANINGS[name]) for name in COEFFICIENTS),
    )


NACA0012 = NektarRuns()
