"""A linear operator as a preconditioner of PETSc's Krylov methods.

The module imports nothing of ours nor SciPy: petsc4py often lives in the system's Python, which has other packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class PetscPreconditioner:
    """A linear operator as the context of a PETSc preconditioner of type "python".

    ``pc.setType("python"); pc.setPythonContext(PetscPreconditioner(M))``. The vectors of one process are served; a
    distributed matrix is refused.

    Parameters
    ----------
    operator : ``M``, mapping residuals to corrections.
    """

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator

    def setUp(self, pc: Any) -> None:
        """Refuse a matrix of another size, or one that is spread over processes."""
        _, matrix = pc.getOperators()
        size, local = tuple(matrix.getSize()), tuple(matrix.getLocalSize())
        if size != self.operator.shape or local != size:
            got = f"{size}, of which {local} here"
            raise ValueError(f"preconditioner: expected a matrix {self.operator.shape} on one process, got {got}")

    def apply(self, pc: Any, x: Any, y: Any) -> None:
        """Write ``M x`` into y."""
        y.getArray()[:] = self.operator.matvec(x.getArray(readonly=True))

    def applyTranspose(self, pc: Any, x: Any, y: Any) -> None:
        """Write ``M^T x`` into y."""
        y.getArray()[:] = self.operator.rmatvec(x.getArray(readonly=True))
