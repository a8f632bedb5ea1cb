"""What XFOIL writes: the polar file, the pressure file, the panel nodes, and what its log says about convergence."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sciml_mfuq.simulators.simulator import GarbledOutput

FAILED = "VISCAL:  Convergence failed"  # lines of MRCHUE, MRCHDU and TRCHEK2 with these words are harmless
RECORDING = "Polar accumulation enabled"  # after this line the log is about the point that counts
TITLES = ("alpha", "CL", "CD", "CDp", "CM")
CONDITIONS = re.compile(r"Mach =\s*([\d.]+)\s+Re =\s*([\d.]+)\s*e\s*(\d+)\s+Ncrit =\s*([\d.]+)")


def read_polar(text: str, wanted: Mapping[str, float]) -> dict[str, float] | None:
    """Return the numbers of the only point of a polar file by the title of their column; None where it has no point.

    Columns end where the dashes of the rule below the titles end, so that numbers may touch.

    Parameters
    ----------
    text : of the file.
    wanted : angle_of_attack (degree), mach, reynolds and n_crit that were asked for; the header must agree.

    >>> text = '''XFOIL Version 6.99
    ... Mach =   0.100     Re =     1.000 e 6     Ncrit =   9.000  9.000
    ...    alpha    CL        CD       CDp       CM
    ...   ------ -------- --------- --------- --------
    ...    4.000   0.4299   0.00731-100.00103   0.0063
    ... '''
    >>> wanted = {"angle_of_attack": 4.0, "mach": 0.1, "reynolds": 1e6, "n_crit": 9.0}
    >>> read_polar(text, wanted)["CDp"]
    -100.00103
    """
    lines = text.splitlines()
    rule = next((i for i, line in enumerate(lines) if re.fullmatch(r"\s*-{3,}(\s+-{3,})+\s*", line)), 0)
    titles = lines[rule - 1].split() if rule else []
    header = CONDITIONS.search(text)
    if header is None or tuple(titles[: len(TITLES)]) != TITLES:
        raise GarbledOutput(
            f"xfoil: expected a polar with conditions and the columns {' '.join(TITLES)}, got {text[:80]!r}; use XFOIL "
            "6.99"
        )
    mach, mantissa, power, n_crit = header.groups()
    found = {"mach": float(mach), "reynolds": float(mantissa) * 10.0 ** int(power), "n_crit": float(n_crit)}
    for name, step in {"mach": 1e-3, "reynolds": 1e-3 * 10.0 ** int(power), "n_crit": 1e-3}.items():
        _agrees(name, found[name], wanted[name], step)
    ends = [match.end() for match in re.finditer("-+", lines[rule])]
    rows = [line for line in lines[rule + 1 :] if line.strip()]
    if not rows:
        return None
    if len(rows) > 1:
        raise GarbledOutput(f"xfoil: expected one point in the polar, got {len(rows)}; start in an empty folder")
    try:
        cells = [rows[0][a:b] for a, b in zip([0, *ends], ends, strict=False)]
        point = {title: float(cell) for title, cell in zip(titles, cells, strict=False)}
    except ValueError:
        raise GarbledOutput(f"xfoil: expected a row of numbers, got {rows[0]!r}; leave this input out") from None
    _agrees("angle_of_attack", point["alpha"], wanted["angle_of_attack"], 1e-3)
    return point


def _agrees(name: str, found: float, wanted: float, step: float) -> None:
    if abs(found - wanted) > 0.51 * step:  # the file rounds to `step`
        raise GarbledOutput(f"xfoil: expected a polar at {name} {wanted:g}, got {found:g}; leave this input out")


def read_pressure(text: str, n_nodes: int) -> NDArray[np.float64]:
    """Return the pressure coefficients (node,) of a pressure file whose rows end with them; columns may touch.

    Parameters
    ----------
    text : of the file, five decimals each.
    n_nodes : rows that it must have.
    """
    rows = [re.findall(r"-?\d+\.\d{5}", line) for line in text.splitlines() if not line.lstrip().startswith("#")]
    rows = [row for row in rows if row]
    if len(rows) != n_nodes or any(len(row) not in (2, 3) for row in rows):
        raise GarbledOutput(
            f"xfoil: expected x and pressure at {n_nodes} nodes, got {len(rows)} rows; leave this input out"
        )
    return np.array([float(row[-1]) for row in rows])


def read_nodes(text: str, n_nodes: int) -> NDArray[np.float64]:
    """Return the panel nodes (node, 2) of a coordinate file `text`, which must have `n_nodes` rows."""
    try:
        nodes = np.array([[float(cell) for cell in line.split()] for line in text.splitlines()])
        return nodes.reshape(n_nodes, 2)
    except ValueError:
        got = f"{len(text.splitlines())} rows"
        raise GarbledOutput(f"xfoil: expected x and y of {n_nodes} panel nodes, got {got}; check n_panels") from None
