"""XFOIL as an operator: one cold start per point, in a folder of its own, kept by the hash of its input."""

from __future__ import annotations

import hashlib
import math
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from sciml_datasets import cached

from sciml import FieldSpec, Operator, Spec
from sciml.artifact import read_json, write_json
from sciml_mfuq.simulators.airfoil import COEFFICIENTS, Airfoil, coefficient_fields, input_fields, naca4
from sciml_mfuq.simulators.program import (
    Execution,
    crashed,
    file_digest,
    find_program,
    in_parallel,
    read_text,
    run_program,
)
from sciml_mfuq.simulators.simulator import GarbledOutput, marked
from sciml_mfuq.simulators.xfoil_output import FAILED, RECORDING, read_nodes, read_polar, read_pressure
from sciml_mfuq.simulators.xfoil_shim import without_traps

BOUNDS = {"angle_of_attack": (-25.0, 25.0), "reynolds": (1e3, 1e8), "mach": (0.0, 0.6), "n_crit": (1.0, 15.0)}
TIMEOUT_S = 60.0  # of one point; one that converges takes a tenth of a second
NEARBY_DEG = 0.3  # a point that fails from a cold start is tried again from the solution this much nearer to zero
MAX_POINTS = 600  # of an aerofoil; XFOIL refuses somewhat more
LAYOUT = 3  # of a kept result; raise it when what is read from XFOIL's files changes
FILES = {"polar": "polar.txt", "pressure": "pressure.txt", "nodes": "nodes.txt"}


@dataclass(frozen=True)
class Flow:
    """The conditions that are no inputs of an operator.

    Parameters
    ----------
    reynolds : of the chord, 1.
    mach : far away, 1.
    n_crit : logarithm of the amplification at transition, 1; 9 is a quiet wind tunnel.
    """

    reynolds: float = 1e6
    mach: float = 0.1
    n_crit: float = 9.0


@dataclass(frozen=True)
class Numerics:
    """Part of what the model is: other panels give other answers (lift 0.4299 or 0.4278 for NACA 0012 at 4 degrees).

    Parameters
    ----------
    n_panels : nodes that XFOIL's PANE spreads by curvature.
    max_iterations : of the viscous solution.
    angle_step : degree; 0 is a cold start at the angle that is asked for, else it is approached from zero in equal
        steps of at most this. At Reynolds numbers of a few thousand there are two solutions, and a cold start finds
        now one, now the other: the approach keeps to the one that is symmetric at zero.
    """

    n_panels: int = 160
    max_iterations: int = 200
    angle_step: float = 0.0

    def __post_init__(self) -> None:
        sane = 20 <= self.n_panels <= 350 and self.max_iterations > 0
        if not sane or not (self.angle_step == 0 or 0.05 <= self.angle_step <= 25):
            wanted = "20 to 350 nodes, some iterations, and a step of 0 or 0.05 to 25 degrees"
            raise ValueError(f"Numerics: expected {wanted}, got {self}; correct them")

    def paths(self, angle: float) -> list[list[float]]:
        """Return the angles (degree) to compute before `angle`: what is tried first, and what after a failure.

        >>> Numerics().paths(4.0), Numerics(angle_step=2.0).paths(3.0)
        ([[], [3.7]], [[0.0, 1.5], [0.0, 0.75, 1.5, 2.25]])
        """
        if not self.angle_step:
            return [[], [angle - math.copysign(NEARBY_DEG, angle)]]
        n_steps = max(1, math.ceil(abs(angle) / self.angle_step - 1e-9))
        return [[angle * i / n for i in range(n)] for n in (n_steps, 2 * n_steps)]


@dataclass(frozen=True, eq=False)
class _Xfoil(Operator):
    """What the operators share: the aerofoil, its panels, the input of a run, and the runs.

    Parameters
    ----------
    airfoil : NACA 0012 with a blunt trailing edge by default.
    inputs : names; by default angle_of_attack, and reynolds for viscous flow. An inviscid flow has no Reynolds number.
    viscous : boundary layers and wake, or the potential flow alone, whose drag is zero.
    flow : the conditions that are no inputs.
    numerics : panels and iterations.
    execution : workers, timeout, program and cache.
    """

    airfoil: Airfoil = field(default_factory=lambda: naca4("0012"))
    inputs: tuple[str, ...] = ()
    viscous: bool = True
    flow: Flow = field(default_factory=Flow)
    numerics: Numerics = field(default_factory=Numerics)
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        default = ("angle_of_attack", "reynolds") if self.viscous else ("angle_of_attack",)
        object.__setattr__(self, "inputs", tuple(self.inputs) or default)
        if "angle_of_attack" not in self.inputs:
            raise ValueError(f"xfoil: expected the input 'angle_of_attack', got {list(self.inputs)}; add it")
        if (n := len(self.airfoil.coordinates)) > MAX_POINTS:
            raise ValueError(f"xfoil: expected an aerofoil of at most {MAX_POINTS} points, got {n}; leave some out")
        _ = self.spec

    @property
    def spec(self) -> Spec:
        """Conditions of a run in; what the runs give out."""
        seen = BOUNDS if self.viscous else {name: BOUNDS[name] for name in ("angle_of_attack", "mach")}
        return Spec(input_fields(self.inputs, seen), self._output_fields())

    @abstractmethod
    def _output_fields(self) -> tuple[FieldSpec, ...]:
        """Return the specs of the outputs."""

    @abstractmethod
    def _outputs(self, runs: list[dict[str, Any]]) -> xr.Dataset:
        """Return the outputs of `runs`, NaN for those without an answer."""

    def deck(self, point: Mapping[str, float], path: Sequence[float] = ()) -> str:
        """Return the commands that compute the conditions `point`, by name, after angles (degree) on a `path` to it.

        Conditions that are not in `point` come from `flow`.

        >>> print(Xfoil().deck({"angle_of_attack": 4.0, "reynolds": 1e6}).split("OPER")[1].split("PACC")[0])
        <BLANKLINE>
        MACH 0.1
        VISC 1000000
        VPAR
        N 9
        <BLANKLINE>
        ITER 200
        <BLANKLINE>
        """
        at = {**asdict(self.flow), **point}
        before = [f"ALFA {angle:z.6f}" for angle in path]
        boundary_layer = [f"VISC {at['reynolds']:.9g}", "VPAR", f"N {at['n_crit']:.9g}", ""] if self.viscous else []
        lines = [
            *("PLOP", "G F", "", "LOAD airfoil.txt", "PPAR", f"N {self.numerics.n_panels}", "", "", "PANE"),
            *(f"PSAV {FILES['nodes']}", "OPER", f"MACH {at['mach']:.9g}", *boundary_layer),
            *(f"ITER {self.numerics.max_iterations}", *before, "PACC", FILES["polar"], ""),
            f"ALFA {at['angle_of_attack']:z.6f}",
            *(f"CPWR {FILES['pressure']}", "", "", "QUIT", ""),
        ]
        return "\n".join(lines)

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        program = find_program(self.execution.program, "SCIML_XFOIL", "xfoil", "apt-get install xfoil")
        rows = zip(*(inputs[name].values for name in self.inputs), strict=True)
        points = [dict(zip(self.inputs, map(float, row), strict=True)) for row in rows]
        runs = in_parallel(lambda point: self._run(program, point), points, self.execution, "run xfoil")
        outputs = marked(self._outputs(runs), inputs, [run["reason"] for run in runs])
        return outputs.assign_attrs(self._identity(runs))

    def _identity(self, runs: list[dict[str, Any]]) -> dict[str, Any]:
        fixed = {name: value for name, value in asdict(self.flow).items() if name not in self.inputs}
        if not self.viscous:
            fixed = {"mach": fixed["mach"]} if "mach" in fixed else {}
        version = ", ".join(sorted({run["version"] for run in runs}))
        mode = "viscous" if self.viscous else "inviscid"
        texts = {"program": f"XFOIL {version}".strip(), "mode": mode, "airfoil": self.airfoil.name, "paneling": "PANE"}
        return {**texts, **asdict(self.numerics), **fixed}

    def _run(self, program: Path, point: Mapping[str, float]) -> dict[str, Any]:
        rows = "".join(f"{x:.9f} {y:.9f}\n" for x, y in self.airfoil.coordinates)
        decks = [self.deck(point, path) for path in self.numerics.paths(point["angle_of_attack"])]
        coordinates = f"airfoil\n{rows}"
        key = {
            "program": {"name": "xfoil", "sha256": file_digest(program)},
            "decks": decks,
            "airfoil_sha256": hashlib.sha256(coordinates.encode()).hexdigest(),
            "layout": LAYOUT,
        }

        def make(folder: Path) -> None:
            for deck in decks:
                run = self._compute(program, deck, coordinates, {**asdict(self.flow), **point})
                if not run["reason"]:
                    break
            write_json(folder / "run.json", run)

        return dict(read_json(cached(self.execution.cache, key, make) / "run.json"))

    def _compute(self, program: Path, deck: str, coordinates: str, wanted: Mapping[str, float]) -> dict[str, Any]:
        timeout_s = self.execution.timeout_s or TIMEOUT_S
        with tempfile.TemporaryDirectory(prefix="xfoil-") as name:
            folder = Path(name)
            (folder / "airfoil.txt").write_text(coordinates, encoding="ascii")
            environment = without_traps(folder, self.execution.cache)
            status, log = run_program([program], folder, timeout_s, text=deck, environment=environment)
            if status:
                raise crashed("xfoil", status, log)
            files = {kind: read_text(folder / file) for kind, file in FILES.items()}
        version = log.partition("XFOIL Version ")[2].split(maxsplit=1)[:1]
        if not version:
            raise GarbledOutput(f"xfoil: expected its name and version, got {log[:80]!r}; check the program")
        n_nodes = self.numerics.n_panels
        nodes = read_nodes(files["nodes"], n_nodes)
        run: dict[str, Any] = {"version": version[0], "reason": "", "node_x": nodes[:, 0], "node_y": nodes[:, 1]}
        inviscid = {"reynolds": 0.0, "n_crit": wanted["n_crit"]}
        polar = read_polar(files["polar"], {**wanted, **({} if self.viscous else inviscid)})
        if FAILED in log.rpartition(RECORDING)[2]:
            n = self.numerics.max_iterations
            return {**run, "reason": f"the viscous solution did not converge in {n} iterations"}
        if polar is None:
            raise GarbledOutput(f"xfoil: expected a point or a failure, got neither after {log[-80:]!r}; leave it out")
        values = [polar["CL"], polar["CD"], polar["CM"]]
        if not np.isfinite(values).all():
            return {**run, "reason": "the solution is not finite"}
        return {**run, "coefficients": values, "pressure": read_pressure(files["pressure"], n_nodes)}


class Xfoil(_Xfoil):
    """Lift, drag and moment of an aerofoil by XFOIL: panels with an integral boundary layer.

    An answer depends on its own conditions alone: every point is a cold start (see `Numerics.angle_step`), and one that
    does not converge is tried once more from the flow 0.3 degrees nearer to zero. Points that still do not, rare below
    stall and common beyond it, are NaN, with the coordinates `converged` and `reason`. Numbers have the four (drag:
    five) decimals of XFOIL's polar file.

    *Source*: Drela, "XFOIL: An analysis and design system for low Reynolds number airfoils" (1989).
    """

    def _output_fields(self) -> tuple[FieldSpec, ...]:
        return coefficient_fields(missing=True)

    def _outputs(self, runs: list[dict[str, Any]]) -> xr.Dataset:
        values = np.array([run.get("coefficients", [np.nan] * 3) for run in runs]).reshape(-1, 3)
        return xr.Dataset(
            {name: ("batch", values[:, i], {"units": "1"}) for i, name in enumerate(COEFFICIENTS)},
        )


class XfoilPressure(_Xfoil):
    """The pressure coefficient at the panel nodes of an aerofoil by XFOIL.

    The nodes run from the trailing edge over the upper side to the leading edge and back; `node_x` and `node_y` are
    their coordinates over the chord, the same for all runs. Runs that do not converge are NaN, as in `Xfoil`.
    """

    def _output_fields(self) -> tuple[FieldSpec, ...]:
        text = "pressure less that far away, over dynamic pressure"
        return (FieldSpec("pressure_coefficient", ("batch", "node"), "1", None, text, missing=True),)

    def _outputs(self, runs: list[dict[str, Any]]) -> xr.Dataset:
        n_nodes = self.numerics.n_panels
        values = np.array([run.get("pressure", [np.nan] * n_nodes) for run in runs]).reshape(-1, n_nodes)
        coords = {name: ("node", runs[0][name], {"units": "1"}) for name in ("node_x", "node_y")} if runs else {}
        return xr.Dataset({"pressure_coefficient": (("batch", "node"), values, {"units": "1"})}, coords=coords)
