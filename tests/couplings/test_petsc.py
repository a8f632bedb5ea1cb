"""A surrogate as PETSc's preconditioner: by stand-ins for petsc4py's objects, and in PETSc itself where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sciml_couplings import petsc
from sciml_couplings.linear_operator import preconditioner
from sciml_couplings.petsc import PetscPreconditioner
from small_surrogates import membrane

# PETSc there, the surrogate here: the system's petsc4py is made for another NumPy than ours.
PROGRAM = """
import json, sys
import numpy as np
import petsc4py
petsc4py.init([])
from petsc4py import PETSc
from sciml_couplings.petsc import PetscPreconditioner

def ask(kind, x):
    print(json.dumps([kind, x.tolist()]), flush=True)
    return np.array(json.loads(sys.stdin.readline()))

class Asked:
    shape = (8, 8)
    def matvec(self, x):
        return ask("matvec", x)
    def rmatvec(self, x):
        return ask("rmatvec", x)

method, entries, right = json.loads(sys.stdin.readline())
matrix = PETSc.Mat().createDense((8, 8), array=np.array(entries))
matrix.assemble()
x, b = matrix.createVecs()
b.array[:] = right
solver = PETSc.KSP().create()
solver.setOperators(matrix)
solver.setType(method)
solver.setTolerances(rtol=1e-10)
solver.pc.setType("none")
solver.solve(b, x)
alone = solver.getIterationNumber()
solver.pc.setType("python")
solver.pc.setPythonContext(PetscPreconditioner(Asked()))
solver.solve(b, x)
print(json.dumps(["done", [x.array.tolist(), solver.getIterationNumber(), alone]]))
"""


def loads():
    return xr.Dataset({"load": (("batch", "node"), np.zeros((1, 8)), {"units": "N"})})


def chain(shift=0.0):
    """Return the matrix whose inverse the membrane is, its diagonal shifted."""
    return (3 + shift) * np.eye(8) - np.eye(8, k=1) - np.eye(8, k=-1)


class Vector:
    """As petsc4py's Vec: an array that is lent for reading or writing."""

    def __init__(self, values):
        self.values = np.array(values, dtype=float)

    def getArray(self, readonly=False):
        view = self.values.view()
        view.flags.writeable = not readonly
        return view


class Matrix:
    def __init__(self, n, n_local=None):
        self.n, self.n_local = n, n_local or n

    def getSize(self):
        return self.n, self.n

    def getLocalSize(self):
        return self.n_local, self.n_local


class Preconditioner:
    def __init__(self, matrix):
        self.matrix = matrix

    def getOperators(self):
        return self.matrix, self.matrix


def test_petsc_context_applies_the_operator_and_its_transpose():
    context = PetscPreconditioner(preconditioner(membrane(), loads()))
    pc, x, y = Preconditioner(Matrix(8)), Vector(np.arange(8.0)), Vector(np.zeros(8))
    context.setUp(pc)
    context.apply(pc, x, y)
    np.testing.assert_allclose(y.values, np.linalg.solve(chain(), x.values), rtol=1e-12)
    context.applyTranspose(pc, x, y)
    np.testing.assert_allclose(y.values, np.linalg.solve(chain().T, x.values), rtol=1e-12)
    for matrix in (Matrix(9), Matrix(8, 4)):
        with pytest.raises(ValueError, match="on one process"):
            context.setUp(Preconditioner(matrix))


@pytest.fixture(scope="module")
def petsc_python():
    """Return an interpreter that has petsc4py, and its environment: ours, or the system's."""
    debian = [str(path) for path in Path("/usr/lib/petscdir").glob("*/*real*/lib/python3/dist-packages")]
    ours = str(Path(petsc.__file__).parent.parent)
    for python in (sys.executable, "/usr/bin/python3"):
        for folder in ("", *debian):
            path = os.pathsep.join(filter(None, (folder, ours, os.environ.get("PYTHONPATH"))))
            environment = {**os.environ, "PYTHONPATH": path}
            command = [python, "-c", "from petsc4py import PETSc"]
            if Path(python).exists() and not subprocess.run(command, env=environment, capture_output=True).returncode:
                return python, environment
    return pytest.skip("needs petsc4py in this Python or the system's: apt-get install python3-petsc4py-real")


@pytest.mark.parametrize(("method", "shift"), [("cg", 0.0), ("cg", 0.5), ("bicg", 0.5)])
def test_petsc_itself_converges_sooner_with_the_surrogate(method, shift, petsc_python):
    python, environment = petsc_python
    operator, rhs = preconditioner(membrane(), loads()), np.random.default_rng(16).normal(size=8)
    command, ends = [python, "-c", PROGRAM], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **ends) as there:

        def tell(words):
            there.stdin.write(json.dumps(words) + "\n")
            there.stdin.flush()
            return json.loads(there.stdout.readline())

        kind, value = tell([method, chain(shift).tolist(), rhs.tolist()])
        asked = set()
        while kind != "done":
            asked.add(kind)
            kind, value = tell(getattr(operator, kind)(np.array(value)).tolist())
    x, n_iteration, alone = value
    np.testing.assert_allclose(x, np.linalg.solve(chain(shift), rhs), rtol=1e-8)
    assert n_iteration < alone
    assert n_iteration <= 2 or shift
    assert asked == ({"matvec", "rmatvec"} if method == "bicg" else {"matvec"})
