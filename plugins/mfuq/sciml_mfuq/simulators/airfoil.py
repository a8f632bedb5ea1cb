"""Aerofoils as coordinates, and the named inputs and outputs that all aerodynamic simulators share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sciml import FieldSpec, Region

Array = NDArray[np.float64]
TrailingEdge = Literal["blunt", "closed"]

# 5 t y = 0.2969 sqrt(x) - 0.1260 x - 0.3516 x^2 + 0.2843 x^3 - c x^4; c decides how the trailing edge ends
LAST_COEFFICIENT: Mapping[TrailingEdge, float] = {"blunt": 0.1015, "closed": 0.1036}
UNITS = {"angle_of_attack": "degree", "reynolds": "1", "mach": "1", "n_crit": "1"}
MEANINGS = {
    "angle_of_attack": "angle between the chord and the flow far away",
    "reynolds": "Reynolds number of the chord",
    "mach": "Mach number of the flow far away",
    "n_crit": "logarithm of the amplification at which the boundary layer turns turbulent",
    "lift_coefficient": "lift over dynamic pressure and chord",
    "drag_coefficient": "drag over dynamic pressure and chord",
    "moment_coefficient": "moment about the quarter chord, nose up, over dynamic pressure and chord squared",
}
COEFFICIENTS = ("lift_coefficient", "drag_coefficient", "moment_coefficient")


@dataclass(frozen=True, eq=False)
class Airfoil:
    """An aerofoil of unit chord.

    Parameters
    ----------
    name : for people.
    coordinates : (point, 2), x and y over the chord in Selig's order: from the trailing edge over the upper side to the
        leading edge and back along the lower side.
    """

    name: str
    coordinates: Array

    def __post_init__(self) -> None:
        points = np.array(self.coordinates, dtype=np.float64)
        where = f"aerofoil {self.name!r}"
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 10 or not np.isfinite(points).all():
            raise ValueError(
                f"{where}: expected at least 10 finite points (x, y), got shape {points.shape}; add points"
            )
        chord = np.ptp(points[:, 0])
        if not 0.98 < chord < 1.02 or min(points[0, 0], points[-1, 0]) < points[:, 0].max() - 0.02:
            raise ValueError(
                f"{where}: expected a unit chord that begins and ends at the trailing edge, got a chord of {chord:.4g} "
                f"from x = {points[0, 0]:.4g} to {points[-1, 0]:.4g}; scale it and use Selig's order"
            )
        x, y = points.T
        if 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) <= 0:
            raise ValueError(f"{where}: expected the upper side first, got the lower one; reverse the points")
        points.setflags(write=False)
        object.__setattr__(self, "coordinates", points)


def naca4(digits: str, n_side: int = 161, trailing_edge: TrailingEdge = "blunt") -> Airfoil:
    """Return an aerofoil of NACA's four-digit series.

    With thickness t, camber m at p, x = (1 - cos b) / 2 for even b (cosine spacing):

        y_t = 5 t (0.2969 sqrt(x) - 0.1260 x - 0.3516 x^2 + 0.2843 x^3 - c x^4)
        y_c = m (2 p x - x^2) / p^2 before p,  m (1 - 2 p + 2 p x - x^2) / (1 - p)^2 behind it
        (x, y) = (x -+ y_t sin(theta), y_c +- y_t cos(theta)),  tan(theta) = dy_c / dx

    Parameters
    ----------
    digits : "2412" is 2 % camber at 0.4 of the chord, 12 % thick.
    n_side : points on each side; the leading edge is shared.
    trailing_edge : "blunt" (c = 0.1015, as published: a gap of 0.21 t) or "closed" (c = 0.1036).

    *Source*: Jacobs, Ward, Pinkerton, NACA Report 460 (1933).

    >>> section = naca4("0012")
    >>> section.coordinates.shape, float(section.coordinates[:, 1].max().round(4))
    ((321, 2), 0.06)
    """
    if len(digits) != 4 or not (digits.isascii() and digits.isdigit()) or digits[2:] == "00":
        raise ValueError(
            f"NACA digits: expected four digits with a thickness, got {digits!r}; write '0012' for example"
        )
    m, p, t = int(digits[0]) / 100, int(digits[1]) / 10, int(digits[2:]) / 100
    if (m > 0) != (p > 0):
        raise ValueError(f"NACA digits: expected camber and its place together, got {digits!r}; write '2412' or '0012'")
    x = 0.5 * (1 - np.cos(np.linspace(0, np.pi, n_side)))
    last = LAST_COEFFICIENT[trailing_edge]
    thickness = 5 * t * (0.2969 * np.sqrt(x) - 0.1260 * x - 0.3516 * x**2 + 0.2843 * x**3 - last * x**4)
    camber, slope = np.zeros_like(x), np.zeros_like(x)
    if m > 0:
        scale = np.where(x < p, p**2, (1 - p) ** 2)
        camber = m * np.where(x < p, 2 * p * x - x**2, 1 - 2 * p + 2 * p * x - x**2) / scale
        slope = 2 * m * (p - x) / scale
    theta = np.arctan(slope)
    upper = np.stack([x - thickness * np.sin(theta), camber + thickness * np.cos(theta)], 1)
    lower = np.stack([x + thickness * np.sin(theta), camber - thickness * np.cos(theta)], 1)
    return Airfoil(f"NACA {digits}", np.concatenate([upper[::-1], lower[1:]]))


def read_selig(path: str | Path) -> Airfoil:
    """Read a coordinate file in Selig's layout at `path`: a name, then one "x y" per line, upper side first."""
    path = Path(path)
    try:
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{path}: expected a coordinate file, got {error.strerror}; check the path") from None
    name, points = path.stem, []
    for number, line in enumerate(lines):
        try:
            x, y = map(float, line.split())
        except ValueError:
            if number == 0:
                name = line.strip()
                continue
            raise ValueError(f"{path}: expected two numbers in line {line.strip()[:40]!r}; correct it") from None
        if abs(x) > 1.5 or abs(y) > 1.5:
            raise ValueError(
                f"{path}: expected coordinates over the chord, got {x:g} {y:g}; a file that begins with the number of "
                "points has each side on its own (Lednicer's layout): rewrite it from trailing edge to trailing edge"
            )
        points.append((x, y))
    return Airfoil(name, np.array(points).reshape(-1, 2))


def input_fields(names: Sequence[str], bounds: Mapping[str, tuple[float, float]]) -> tuple[FieldSpec, ...]:
    """Return the specs of the inputs `names` of a simulator that takes values within `bounds`."""
    unknown = sorted(set(names) - set(bounds))
    if unknown or not names:
        raise ValueError(f"inputs: expected some of {sorted(bounds)}, got {list(names)}; this simulator has no other")
    return tuple(
        FieldSpec(name, ("batch",), UNITS[name], Region.interval(*bounds[name]), MEANINGS[name]) for name in names
    )


def coefficient_fields(missing: bool = False) -> tuple[FieldSpec, ...]:
    """Return the specs of lift, drag and moment; NaN is allowed where runs may be `missing` an answer."""
    return tuple(FieldSpec(name, ("batch",), "1", None, MEANINGS[name], missing) for name in COEFFICIENTS)
