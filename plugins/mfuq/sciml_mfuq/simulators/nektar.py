"""Nektar++ as an operator: the incompressible flow around an aerofoil, marched until its forces have settled."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sciml_datasets import cached

from sciml import FieldSpec, Operator, Region, Spec
from sciml_mfuq.simulators.airfoil import COEFFICIENTS, coefficient_fields, input_fields
from sciml_mfuq.simulators.nektar_forces import UnfinishedRun, read_forces
from sciml_mfuq.simulators.nektar_session import FORCES, LINEAR_SOLVER, Discretization, session_xml
from sciml_mfuq.simulators.program import (
    Execution,
    crashed,
    file_digest,
    find_program,
    in_parallel,
    read_text,
    run_program,
)
from sciml_mfuq.simulators.simulator import marked

BOUNDS = {"angle_of_attack": (-15.0, 15.0), "reynolds": (1.0, 2000.0)}  # laminar, and resolved by the recorded mesh
TIMEOUT_S = 3600.0  # of one point; the recorded ones took 72 to 89 s
INSTALL = "build Nektar++ (www.nektar.info) and set SCIML_NEKTAR to its IncNavierStokesSolver"
DECIDED = {"TimeStep", "NumSteps", "AoA", "Re", "Kinvis", "ux", "uy"}
RECORDED = "nektar_naca0012_re1000"
RECORDED_ANGLES = (0.0, 4.0, 8.0)  # degree
RECORDED_REYNOLDS = 1000.0
# Standard errors of one recorded run. Lift: 0.0098 at no angle, where it should be zero. Drag and moment: what a higher
# order (0.0011) and no angle (0.0010) change.
STD = {"lift_coefficient": 0.01, "drag_coefficient": 0.001, "moment_coefficient": 0.001}
RECORDED_COST_S = 80.0  # of one run, on one core
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Nektar(Operator):
    """Lift, drag and moment of the aerofoil of a mesh in laminar flow, by spectral/hp elements.

    Runs that diverge or break off are NaN, with the coordinates `converged` and `reason`.

    Parameters
    ----------
    mesh : file of a mesh with composites as in `session_xml`; by default the recorded one of NACA 0012, 762 triangles.
    inputs : angle_of_attack, and reynolds, which is 1000 where it is no input.
    numerics : discretization in space and time.
    execution : workers, timeout, cache, and the solver IncNavierStokesSolver, which SCIML_NEKTAR names too.
    parameters : given to the solver as ``-P name=value``. The solver does not compute again what depends on them (the
        viscosity would stay when Re is changed so), hence those that inputs and numerics decide are refused.

    *Source*: Cantwell et al., "Nektar++: An open-source spectral/hp element framework", CPC 192 (2015).
    """

    mesh: str | Path | None = None
    inputs: tuple[str, ...] = ("angle_of_attack", "reynolds")
    numerics: Discretization = field(default_factory=Discretization)
    execution: Execution = field(default_factory=Execution)
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "angle_of_attack" not in self.inputs:
            raise ValueError(f"nektar: expected the input 'angle_of_attack', got {list(self.inputs)}; add it")
        if self.mesh is not None and not Path(self.mesh).is_file():
            raise ValueError(f"nektar: expected a mesh at {self.mesh}, got no file; check the path")
        if decided := sorted(DECIDED & set(self.parameters)):
            raise ValueError(f"nektar: expected parameters beside {sorted(DECIDED)}, got {decided}; use the inputs")
        _ = self.spec

    @property
    def spec(self) -> Spec:
        """Conditions in, coefficients out."""
        return Spec(input_fields(self.inputs, BOUNDS), coefficient_fields(missing=True))

    def command(self, solver: Path) -> list[str]:
        """Return the command line that runs `solver` on session.xml and mesh.xml in its working directory."""
        given = [part for name, value in self.parameters.items() for part in ("-P", f"{name}={value!r}")]
        return [str(solver), "-I", f"GlobalSysSoln={LINEAR_SOLVER}", *given, "session.xml", "mesh.xml"]

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        solver = find_program(self.execution.program, "SCIML_NEKTAR", "IncNavierStokesSolver", INSTALL)
        angle = inputs["angle_of_attack"].values
        reynolds = inputs["reynolds"].values if "reynolds" in self.inputs else np.full(len(angle), RECORDED_REYNOLDS)
        points = list(zip(angle.tolist(), reynolds.tolist(), strict=True))
        with as_file(_recorded("mesh.xml")) as recorded:
            mesh = recorded if self.mesh is None else Path(self.mesh).resolve()
            runs = in_parallel(lambda point: self._run(solver, mesh, *point), points, self.execution, "run Nektar++")
        values = np.array([run for run, _ in runs]).reshape(-1, len(COEFFICIENTS))
        texts = {"program": "Nektar++ IncNavierStokesSolver", **asdict(self.numerics)}
        fixed = {} if "reynolds" in self.inputs else {"reynolds": RECORDED_REYNOLDS}
        outputs = marked(_labelled(values), inputs, [reason for _, reason in runs])
        return outputs.assign_attrs({**texts, **fixed})

    def _run(self, solver: Path, mesh: Path, angle: float, reynolds: float) -> tuple[Array, str]:
        session = session_xml(round(angle, 9), float(f"{reynolds:.9g}"), self.numerics)
        command, end_time = self.command(solver), self._end_time

        def make(kept: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="nektar-") as name:
                folder = Path(name)  # fresh, since the solver writes and later reads session.opt beside the session
                (folder / "session.xml").write_text(session, encoding="ascii")
                shutil.copyfile(mesh, folder / "mesh.xml")
                status, log = run_program(command, folder, self.execution.timeout_s or TIMEOUT_S)
                text = read_text(folder / FORCES)
                n_records = sum(not line.startswith("#") for line in text.splitlines())
                if n_records < 2:  # the first is that at rest
                    raise crashed(solver.name, status, log)
                read_forces(text, end_time)
                if status:
                    raise crashed(solver.name, status, log)
                (kept / FORCES).write_text(text, encoding="ascii")

        key = {"solver_sha256": file_digest(solver), "mesh_sha256": file_digest(mesh), "session": session}
        try:
            folder = cached(self.execution.cache, {**key, "command": command[1:]}, make)
            forces = read_forces(read_text(folder / FORCES), end_time)
            return forces.coefficients(angle, self.numerics.mean_after), ""
        except UnfinishedRun as error:
            return np.full(len(COEFFICIENTS), np.nan), str(error)

    @property
    def _end_time(self) -> float:
        """The last record of the forces, whose interval need not divide the time."""
        n_steps, step = self.numerics.n_steps, self.numerics.time_step
        every = max(1, round(self.numerics.force_interval / step))
        return n_steps // every * every * step


class RecordedNektar(Operator):
    """The recorded runs of Nektar++ as a level: NACA 0012 at Reynolds number 1000 and 0, 4 and 8 degrees, nothing else.

    Each coefficient comes with its standard error, the discretization error of these runs: a fit must not follow them
    more closely. Other angles are refused, not interpolated.

    >>> import xarray as xr
    >>> angle = xr.Dataset({"angle_of_attack": ("batch", [4.0], {"units": "degree"})})
    >>> RecordedNektar()(angle)["lift_coefficient"].values.round(3).tolist()
    [0.211]
    """

    @property
    def spec(self) -> Spec:
        """One of the recorded angles in; coefficients with their standard errors out."""
        angles = Region(tuple(((angle,), (angle,)) for angle in RECORDED_ANGLES))
        angle = FieldSpec("angle_of_attack", ("batch",), "degree", angles, "one of the recorded angles")
        errors = tuple(FieldSpec(f"{name}_std", ("batch",), "1") for name in COEFFICIENTS)
        return Spec((angle,), (*coefficient_fields(), *errors))

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        table = nektar_table()
        angle = inputs["angle_of_attack"].values
        nearest = np.abs(table["angle_of_attack"].values - angle[:, None]).argmin(1)
        return table.isel(batch=nearest).drop_vars("angle_of_attack").assign_coords(inputs.coords)


def nektar_table() -> xr.Dataset:
    """Return the recorded coefficients (batch,) with their standard errors `NAME_std`, by angle_of_attack (batch,)."""
    forces = [read_forces(recorded_text(f"alpha_{angle:g}.fce"), 14.0) for angle in RECORDED_ANGLES]
    values = np.stack([one.coefficients(angle, 10.0) for angle, one in zip(RECORDED_ANGLES, forces, strict=True)])
    errors = {
        f"{name}_std": ("batch", np.full(len(values), error), {"units": "1", "standard_name": "standard_error"})
        for name, error in STD.items()
    }
    angle = ("batch", np.array(RECORDED_ANGLES), {"units": "degree"})
    texts = {"program": "Nektar++ 5.3.0 IncNavierStokesSolver", "reynolds": RECORDED_REYNOLDS, "airfoil": "NACA 0012"}
    table = _labelled(values).assign(errors).assign_coords(angle_of_attack=angle)
    return table.assign_attrs({**texts, "cost_s": RECORDED_COST_S})


def recorded_text(file: str) -> str:
    """Return the text of a recorded `file`: alpha_0.fce, alpha_0.xml or mesh.xml for example."""
    return _recorded(file).read_text(encoding="ascii")


def _recorded(file: str) -> Traversable:
    return files("sciml_mfuq.simulators") / "recorded" / RECORDED / file


def _labelled(values: Array) -> xr.Dataset:
    return xr.Dataset({name: ("batch", values[:, i], {"units": "1"}) for i, name in enumerate(COEFFICIENTS)})
