"""PETSc as a peer: conjugate gradients with hypre's BoomerAMG or PETSc's GAMG, in a process of their own.

Systems install petsc4py for their own Python and its NumPy, so that it may be there and not be importable here. The
matrix goes to a process of an interpreter that has it, through files; that process runs this very file, which imports
NumPy and the standard library alone, and times itself.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SYSTEM_PYTHON = "/usr/bin/python3"
OPTIONS: dict[str, dict[str, str]] = {
    "hypre": {
        "pc_type": "hypre",
        "pc_hypre_type": "boomeramg",
        "pc_hypre_boomeramg_coarsen_type": "HMIS",
        "pc_hypre_boomeramg_interp_type": "ext+i",
        "pc_hypre_boomeramg_agg_nl": "1",
        "pc_hypre_boomeramg_relax_type_coarse": "symmetric-SOR/Jacobi",  # the direct one fails on singular matrices
    },
    "gamg": {"pc_type": "gamg"},
}
N_RESTART, MAX_ITERATIONS = 6, 5000


@dataclass(frozen=True)
class Spent:
    """What the process reports of itself: CPU and wall seconds of set-up and solve, and the memory they took."""

    setup_s: float
    setup_wall_s: float
    solve_s: float
    solve_wall_s: float
    bytes: int | None


@functools.cache
def interpreter(kind: str) -> tuple[str, str]:
    """Return an interpreter that has petsc4py and what `kind` needs, and the folder to show it: ours, or the system's.

    Debian keeps petsc4py where its Python looks only once the development files of PETSc are installed too.
    """
    needs = "; assert PETSc.Sys.hasExternalPackage('hypre')" if kind == "hypre" else ""
    debian = [str(path) for path in Path("/usr/lib/petscdir").glob("*/*real*/lib/python3/dist-packages")]
    for python, folder in ((sys.executable, ""), *((SYSTEM_PYTHON, folder) for folder in ("", *debian))):
        try:
            test = [python, "-c", f"from petsc4py import PETSc{needs}"]
            done = subprocess.run(test, capture_output=True, env=_environment(folder), check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return python, folder
    raise ImportError(
        f"petsc_{kind}: expected petsc4py in this Python or in {SYSTEM_PYTHON}, got none; install it with: apt-get "
        "install python3-petsc4py-real"
    )


def _environment(folder: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class PetscPeer:
    """Solve with PETSc's conjugate gradients; a call is a process that sets up, solves, and says what that took.

    Parameters
    ----------
    kind
        "hypre" (BoomerAMG: HMIS coarsening, extended+i interpolation, one level of aggressive coarsening) or "gamg"
        (smoothed aggregation with PETSc's defaults).
    data, indices, indptr
        The parts of a symmetric positive (semi-)definite sparse matrix by rows.
    label : (unknown,)
        Number from 1 of the component whose constants A takes to zero, zero where there is none.

    *Contract*: PETSc's residual norm is the unpreconditioned one; from its answer it goes on until the residual
    ``b - A x`` is below the tolerance. One process, one thread. Compilation, the start of Python and the reading of
    the files are not counted, nor is PETSc's copy of the matrix.
    """

    def __init__(
        self, kind: str, data: NDArray, indices: NDArray, indptr: NDArray, label: NDArray[np.integer] | None = None
    ) -> None:
        self._kind = kind
        self._python, self._folder = interpreter(kind)
        label = np.zeros(len(indptr) - 1, np.int32) if label is None else label
        self._parts = {"data": data, "indices": indices.astype(np.int32), "indptr": indptr.astype(np.int32)}
        self._parts["label"] = label.astype(np.int32)
        self._calls: list[Spent] = []

    @property
    def spent(self) -> Spent:
        """Set-up once, as each call repeats it; the solves of all calls; the most memory."""
        first, held = self._calls[0], [call.bytes for call in self._calls if call.bytes is not None]
        solves = (sum(call.solve_s for call in self._calls), sum(call.solve_wall_s for call in self._calls))
        return Spent(first.setup_s, first.setup_wall_s, *solves, max(held, default=None))

    def __call__(self, b: NDArray[np.floating], rtol: float) -> tuple[NDArray[np.float64], int]:
        """Return x (unknown,) with ``norm(b - A x) <= rtol norm(b)`` and the iterations; `spent` tells the cost."""
        with tempfile.TemporaryDirectory(prefix="petsc-") as folder:
            for name, values in {**self._parts, "b": b}.items():
                np.save(Path(folder, f"{name}.npy"), values)
            command = [self._python, __file__, folder, self._kind, repr(float(rtol))]
            environment = _environment(self._folder)
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                raise RuntimeError(f"petsc_{self._kind}: expected an answer, got: {done.stderr.strip()[-500:]}")
            x: NDArray[np.float64] = np.load(Path(folder, "x.npy"), allow_pickle=False)
            told = json.loads(Path(folder, "told.json").read_text())
        self._calls.append(Spent(**told["spent"]))
        return x, int(told["iterations"])


def main(folder: str, kind: str, rtol: float) -> None:
    """Solve what lies in a folder: the other end of `PetscPeer`."""
    importlib.import_module("petsc4py").init([])
    petsc = importlib.import_module("petsc4py.PETSc")
    memory = importlib.import_module("memory")  # beside this file; the package's folder may hold another NumPy
    for key, value in OPTIONS[kind].items():
        petsc.Options().setValue(key, value)
    _solve(petsc, _path_graph(petsc), np.ones(64), rtol)  # what a library does once at its first use
    parts = {name: np.load(Path(folder, f"{name}.npy")) for name in ("indptr", "indices", "data", "label", "b")}
    matrix = _matrix(petsc, parts["indptr"], parts["indices"], parts["data"], parts["label"])
    b = parts["b"]
    parts.clear()
    before = memory.resident() if memory.reset_peak() else None
    x, iterations, seconds = _solve(petsc, matrix, b, rtol)
    spent = {**seconds, "bytes": None if before is None else max(0, memory.peak() - before)}
    np.save(Path(folder, "x.npy"), x)
    Path(folder, "told.json").write_text(json.dumps({"iterations": iterations, "spent": spent}))


def _solve(petsc: Any, matrix: Any, b: NDArray[np.float64], rtol: float) -> tuple[NDArray, int, dict[str, float]]:
    """Set up and solve to the true residual; return x, the iterations and the seconds."""
    start = _clock()
    ksp = petsc.KSP().create(petsc.COMM_SELF)
    ksp.setOperators(matrix)
    ksp.setType("cg")
    ksp.setNormType(petsc.KSP.NormType.UNPRECONDITIONED)
    ksp.setFromOptions()
    ksp.setUp()
    middle = _clock()
    x, rhs = matrix.createVecs()
    rhs.setArray(b)
    ksp.setInitialGuessNonzero(True)
    rest, n_done, target = rhs.duplicate(), 0, rtol * float(np.linalg.norm(b))
    goal = target
    for _ in range(N_RESTART):
        ksp.setTolerances(rtol=1e-50, atol=goal, divtol=1e10, max_it=MAX_ITERATIONS - n_done)
        ksp.solve(rhs, x)
        n_new = ksp.getIterationNumber()
        n_done += n_new
        matrix.mult(x, rest)
        rest.aypx(-1.0, rhs)
        if not rest.norm() > target or n_new == 0 or n_done >= MAX_ITERATIONS:
            break
        goal *= 0.5
    end = _clock()
    (setup_s, setup_wall_s), (solve_s, solve_wall_s) = np.diff([start, middle, end], axis=0).tolist()
    seconds = {"setup_s": setup_s, "setup_wall_s": setup_wall_s, "solve_s": solve_s, "solve_wall_s": solve_wall_s}
    return x.getArray().copy(), n_done, seconds


def _clock() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _matrix(petsc: Any, indptr: NDArray, indices: NDArray, data: NDArray, label: NDArray) -> Any:
    n = len(label)
    matrix = petsc.Mat().createAIJ((n, n), csr=(indptr, indices, data), comm=petsc.COMM_SELF)
    kernel = []
    for component in range(1, label.max(initial=0) + 1):
        vector = matrix.createVecRight()
        vector.setArray((label == component) / np.sqrt(np.count_nonzero(label == component)))
        kernel.append(vector)
    if kernel:
        matrix.setNullSpace(petsc.NullSpace().create(constant=False, vectors=kernel, comm=petsc.COMM_SELF))
    matrix.setOption(petsc.Mat.Option.SPD if not kernel else petsc.Mat.Option.SYMMETRIC, True)
    return matrix


def _path_graph(petsc: Any, n: int = 64) -> Any:
    """Return the matrix of n cells in a row with given pressure at both ends."""
    indices = np.arange(n)[:, None] + [-1, 0, 1]
    inside = (indices >= 0) & (indices < n)
    data = np.broadcast_to([-1.0, 2.0, -1.0], (n, 3))[inside]
    indptr = np.append(0, np.cumsum(inside.sum(axis=1)))
    parts = (indptr.astype(np.int32), indices[inside].astype(np.int32), data)
    return _matrix(petsc, *parts, np.zeros(n, np.int32))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
