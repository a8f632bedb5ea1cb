"""Where other codes call the solver: SciPy operators, a PETSc preconditioner, and a differentiable solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Status
from sciml_solvers.solve import solve
from sciml_solvers.system import grid_system

Vectors: TypeAlias = NDArray[np.floating]
GridMap: TypeAlias = Callable[[Tensor], Tensor]


def linear_operator(source: MaskProblem | Multigrid) -> LinearOperator:
    """Return one multigrid cycle B as a SciPy operator, such as the M of ``scipy.sparse.linalg.cg(A, b, M=M)``.

    Parameters
    ----------
    source
        A grid problem, for which a `Multigrid` with its defaults is made, or one that is there already. The unknowns
        are the fluid cells in C order, as in `MaskProblem.matrix`; those of a given `Multigrid` are the cells that
        have at least one open face.

    Returns
    -------
    LinearOperator
        (unknown, unknown), float64, with ``matvec`` and ``matmat``; columns go through the cycle together.

    *Contract*: symmetric up to the rounding of the cycle's type; ``matmat`` gives the columns that ``matvec`` gives.
    For a problem with closed components the operator takes constants to zero and returns mean zero there.

    Examples
    --------
    >>> from scipy.sparse.linalg import cg
    >>> from sciml_solvers.gallery import problem
    >>> closed_box = problem("smoke", 16)
    >>> cg(closed_box.matrix(), closed_box.to_vector(closed_box.rhs), M=linear_operator(closed_box), rtol=1e-6)[1]
    0
    """
    if isinstance(source, Multigrid):
        diagonal = source.hierarchy[0].diagonal
        return _operator(diagonal.numpy() > 0, source.apply)
    if not isinstance(source, MaskProblem):
        raise TypeError(
            f"linear_operator: expected a MaskProblem or a Multigrid, got {type(source).__name__}; make one of these"
        )
    system = grid_system(source)
    cycle, project = Multigrid(source), system.constants.project
    fluid = source.fluid.reshape(tuple(system.diagonal.shape))
    return _operator(fluid, lambda r: project(cycle.apply(project(r))))


def as_operator(problem: MaskProblem) -> LinearOperator:
    """Return the matrix A of a grid problem as a SciPy operator that stores no matrix.

    Parameters
    ----------
    problem
        Its right-hand side is not used.

    Returns
    -------
    LinearOperator
        (unknown, unknown), float64, with ``matvec`` and ``matmat``.

    *Contract*: equal to ``problem.matrix()`` up to rounding.
    """
    system = grid_system(problem)
    return _operator(problem.fluid.reshape(tuple(system.diagonal.shape)), system.apply)


def _operator(fluid: NDArray[np.bool_], apply: GridMap) -> LinearOperator:
    """Wrap a symmetric map of grids (rhs, n_x, n_y, n_z) as an operator on the unknowns."""
    place = np.flatnonzero(fluid)

    def columns(vectors: Vectors) -> Vectors:
        grids = np.zeros((vectors.shape[1], fluid.size))
        grids[:, place] = vectors.T
        with torch.no_grad():
            image = apply(torch.from_numpy(grids.reshape(-1, *fluid.shape)))
        return image.reshape(len(grids), -1).numpy()[:, place].T

    def single(vector: Vectors) -> Vectors:
        return columns(vector.reshape(-1, 1))[:, 0]

    n = len(place)
    return LinearOperator((n, n), matvec=single, rmatvec=single, matmat=columns, rmatmat=columns, dtype=np.float64)


class PetscPC:
    """A PETSc preconditioner in Python: ``pc.setType("python"); pc.setPythonContext(PetscPC(problem))``.

    Parameters
    ----------
    problem
        Its fluid cells in C order are the rows of the PETSc matrix; the vectors must lie on one process.

    *Contract*: `apply` writes ``B x`` to y and leaves x alone; `applyTranspose` does the same, since B is symmetric.
    """

    def __init__(self, problem: MaskProblem) -> None:
        self._problem = problem
        self._operator: LinearOperator | None = None

    def setUp(self, pc: Any) -> None:
        """Build the hierarchy; PETSc calls this before the first application and when the matrix has changed."""
        self._operator = linear_operator(self._problem)

    def update(self, problem: MaskProblem) -> None:
        """Take another mask or coefficient, as for a moving solid; used from the next `setUp` or `apply` on."""
        self._problem, self._operator = problem, None

    def apply(self, pc: Any, x: Any, y: Any) -> None:
        """Write ``B x`` to y."""
        if self._operator is None:
            self.setUp(pc)
        residual = x.getArray(readonly=True)
        if self._operator is None or residual.shape != (self._operator.shape[0],):
            raise ValueError(
                f"PetscPC: expected a vector of {self._problem.n_unknowns} entries, one for each fluid cell, got "
                f"{residual.shape}; number the rows as MaskProblem.matrix does, on one process"
            )
        y.getArray()[:] = self._operator.matvec(np.asarray(residual, dtype=np.float64))

    def applyTranspose(self, pc: Any, x: Any, y: Any) -> None:
        """Write ``B^T x = B x`` to y."""
        self.apply(pc, x, y)

    def view(self, pc: Any, viewer: Any = None) -> None:
        """Print what the preconditioner is, to the viewer or to the standard output."""
        shape = " x ".join(str(n) for n in self._problem.cells.shape)
        text = f"  geometric multigrid V-cycle on {shape} cells, {self._problem.n_unknowns} unknowns\n"
        if viewer is None:
            print(text, end="")
        else:
            viewer.printfASCII(text)


def poisson_solve(problem: MaskProblem, b: Tensor, *, rtol: float = 1e-10, cycle: Multigrid | None = None) -> Tensor:
    """Solve ``A x = b`` for a batch of right-hand sides, differentiable with respect to b any number of times.

    ``dL/db = A^-1 dL/dx``

    Parameters
    ----------
    problem
        Its own right-hand side is not used.
    b : (batch..., shape of cells)
        Right-hand sides on the CPU; what stands outside of fluid cells is not looked at, its gradient is zero.
    rtol
        Tolerance of both solves, relative to the norm of each right-hand side and of each cotangent.
    cycle
        Preconditioner to use again; made for the problem where it is left out.

    Returns
    -------
    (batch..., shape of cells)
        Pressure in the type of b, zero outside of fluid cells.

    *Contract*: each right-hand side is scaled to norm one first, so that the answer is homogeneous in b down to the
    smallest numbers. Where a component has no given pressure, the map is the symmetric pseudo-inverse: constants are
    taken out of b and of x. A solve that does not converge raises.
    """
    shape = problem.cells.shape
    if tuple(b.shape[b.ndim - len(shape) :]) != shape or b.device.type != "cpu" or not b.is_floating_point():
        raise ValueError(
            f"poisson_solve: expected real b of shape (batch..., {', '.join(map(str, shape))}) on the CPU, got "
            f"{b.dtype} {tuple(b.shape)} on {b.device}; reshape or move it"
        )
    solved: Tensor = _Solve.apply(b, problem, rtol, Multigrid(problem) if cycle is None else cycle)
    return solved


class _Solve(torch.autograd.Function):
    """The map from b to x; being symmetric, it is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, problem: MaskProblem, rtol: float, cycle: Multigrid) -> Tensor:
        ctx.solver = (problem, rtol, cycle)
        grids = torch.from_numpy(problem.fluid) * b.detach().to(torch.float64)
        flat = grids.reshape(-1, problem.cells.size)
        # Largest entry first: squares of very small entries would vanish in the norm.
        largest = flat.abs().amax(1, keepdim=True)
        unit = flat / torch.where(largest > 0, largest, 1)
        norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
        unit = (unit / torch.where(norm > 0, norm, 1)).reshape(-1, *problem.cells.shape)
        found = solve(problem, unit.numpy(), preconditioner=cycle, rtol=rtol)
        failed = set(found.statuses) - {Status.CONVERGED, Status.SINGULAR_INCONSISTENT}
        if failed:
            raise RuntimeError(
                f"poisson_solve: expected a relative residual of {rtol:.1e}, got {found.residual_norm_true:.1e}; "
                f"{failed.pop().value}"
            )
        x = torch.from_numpy(found.x).reshape(flat.shape) * norm * largest
        return x.reshape(b.shape).to(b.dtype)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None, None]:
        solved: Tensor = _Solve.apply(cotangents[0], *ctx.solver)
        return solved, None, None, None
