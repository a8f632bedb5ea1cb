"""Session files for the incompressible Navier-Stokes solver of Nektar++: an aerofoil of unit chord in unit flow."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

FORCES = "forces.fce"
# The default solver of linear systems, DirectMultiLevelStaticCond, crashes in some builds of the library Scotch.
LINEAR_SOLVER = "DirectStaticCond"
SOLVER = {
    "EQTYPE": "UnsteadyNavierStokes",
    "SolverType": "VelocityCorrectionScheme",
    "EvolutionOperator": "Nonlinear",
    "AdvectionForm": "Convective",
    "Projection": "Galerkin",
    "TimeIntegrationMethod": "IMEXOrder2",
    "GlobalSysSoln": LINEAR_SOLVER,
    "SPECTRALHPDEALIASING": "True",
}
HIGH_ORDER_PRESSURE = {"USERDEFINEDTYPE": "H", "VALUE": "0"}


@dataclass(frozen=True)
class Discretization:
    """Part of what the model is.

    Parameters
    ----------
    n_modes : per direction of an element, the same for velocity and pressure: fewer for the pressure blew up.
    time_step : in chords over inflow speed; 0.002 is stable for four modes on the recorded mesh, 0.004 is not.
    end_time : in chords over inflow speed.
    mean_after : forces count after this time, in chords over inflow speed.
    ramp_rate : the inflow grows from rest as 1 - exp(-ramp_rate t).
    force_interval : between two records of the forces, in chords over inflow speed.
    """

    n_modes: int = 4
    time_step: float = 0.002
    end_time: float = 14.0
    mean_after: float = 10.0
    ramp_rate: float = 4.0
    force_interval: float = 0.07

    def __post_init__(self) -> None:
        ordered = 0 < self.time_step <= self.force_interval < self.end_time - self.mean_after
        if self.n_modes < 2 or not ordered or self.mean_after < 0 or not self.ramp_rate > 0:
            raise ValueError(
                "Discretization: expected n_modes >= 2 and 0 < time_step <= force_interval < end_time - mean_after, "
                f"got {self}; correct them"
            )

    @property
    def n_steps(self) -> int:
        """How many time steps a run takes."""
        return round(self.end_time / self.time_step)


def session_xml(angle_of_attack: float, reynolds: float, numerics: Discretization | None = None) -> str:
    """Return a session: u, v and p on composite C[0], the aerofoil on C[1], inflow on C[2], outflow on C[3].

        u_t + (u . grad) u = -grad p + (1 / Re) lap u,  div u = 0
        u = 0 on the aerofoil,  u = (cos a, sin a) (1 - exp(-r t)) at the inflow,  p = 0 and du/dn = 0 at the outflow

    with the high-order condition for the pressure on the aerofoil and at the inflow, at rest at t = 0.

    Parameters
    ----------
    angle_of_attack : a, degree.
    reynolds : Re of the chord, 1.
    numerics : discretization in space and time.

    >>> "<P>AoA=4.0*PI/180</P>" in session_xml(4.0, 1000.0)
    True
    """
    numerics = numerics or Discretization()
    root = ET.Element("NEKTAR")
    expansion = {"COMPOSITE": "C[0]", "NUMMODES": str(numerics.n_modes), "TYPE": "MODIFIED", "FIELDS": "u,v,p"}
    _add(_add(root, "EXPANSIONS"), "E", expansion)
    conditions = _add(root, "CONDITIONS")
    solver = _add(conditions, "SOLVERINFO")
    for name, value in SOLVER.items():
        _add(solver, "I", {"PROPERTY": name, "VALUE": value})
    parameters = _add(conditions, "PARAMETERS")
    for name, value in _parameters(angle_of_attack, reynolds, numerics).items():
        _add(parameters, "P", text=f"{name}={value}")
    variables, regions = _add(conditions, "VARIABLES"), _add(conditions, "BOUNDARYREGIONS")
    for number, name in enumerate("uvp"):
        _add(variables, "V", {"ID": str(number)}, name)
        _add(regions, "B", {"ID": str(number)}, f"C[{number + 1}]")
    _boundary_conditions(_add(conditions, "BOUNDARYCONDITIONS"), numerics.ramp_rate)
    initial = _add(conditions, "FUNCTION", {"NAME": "InitialConditions"})
    for name in "uvp":
        _add(initial, "E", {"VAR": name, "VALUE": "0"})
    forces = _add(_add(root, "FILTERS"), "FILTER", {"TYPE": "AeroForces"})
    every = str(max(1, round(numerics.force_interval / numerics.time_step)))
    for name, value in {
        "OutputFile": FORCES.removesuffix(".fce"),
        "OutputFrequency": every,
        "Boundary": "B[0]",
    }.items():
        _add(forces, "PARAM", {"NAME": name}, value)
    ET.indent(root, " ")
    return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _parameters(angle_of_attack: float, reynolds: float, numerics: Discretization) -> dict[str, str]:
    every = str(max(1, numerics.n_steps // 20))
    return {
        "TimeStep": repr(numerics.time_step),
        "NumSteps": str(numerics.n_steps),
        "IO_CheckSteps": "0",
        "IO_InfoSteps": every,
        "IO_CFLSteps": every,
        "AoA": f"{float(angle_of_attack)!r}*PI/180",
        "Re": repr(float(reynolds)),
        "Kinvis": "1.0/Re",
        "ux": "cos(AoA)",
        "uy": "sin(AoA)",
    }


def _boundary_conditions(parent: ET.Element, ramp_rate: float) -> None:
    wall, inflow, outflow = (_add(parent, "REGION", {"REF": str(number)}) for number in range(3))
    for name in "uv":
        _add(wall, "D", {"VAR": name, "VALUE": "0"})
        ramp = f"u{'xy'['uv'.index(name)]}*(1-exp(-{ramp_rate:g}*t))"
        _add(inflow, "D", {"VAR": name, "USERDEFINEDTYPE": "TimeDependent", "VALUE": ramp})
        _add(outflow, "N", {"VAR": name, "VALUE": "0"})
    for region in (wall, inflow):
        _add(region, "N", {"VAR": "p", **HIGH_ORDER_PRESSURE})
    _add(outflow, "D", {"VAR": "p", "VALUE": "0"})


def _add(parent: ET.Element, tag: str, attributes: dict[str, str] | None = None, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes or {})
    element.text = text
    return element
