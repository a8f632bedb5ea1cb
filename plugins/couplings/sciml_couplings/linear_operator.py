"""Surrogates for SciPy's iterative methods: Jacobians, linear maps and preconditioners."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from scipy.sparse.linalg import LinearOperator

from sciml import Surrogate
from sciml_couplings.derivatives import pull_back, push_forward
from sciml_couplings.sample import reference

SLACK = {torch.float64: 1e-10, torch.float32: 1e-4}  # relative, of a sum that rounding may reorder


class _Map:
    """One output as a function of one input, the others held at their values in `at`."""

    def __init__(self, surrogate: Surrogate, at: xr.Dataset, input: str | None, output: str | None) -> None:
        spec = surrogate.spec
        self.input = _choose("input", input, [field.name for field in spec.inputs])
        self.output = _choose("output", output, [f.name for f in spec.outputs if not f.name.endswith("_std")])
        checked, like = spec.check_inputs(at), reference(surrogate)
        self.held = {f.name: torch.as_tensor(np.array(checked[f.name].values)).to(like) for f in spec.inputs}
        self.surrogate, self.at = surrogate, self.held[self.input]
        with torch.no_grad():
            self.value = self(self.at)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.surrogate.network(**{**self.held, self.input: x})[self.output]
        return found

    @property
    def shape(self) -> tuple[int, int]:
        return self.value.numel(), self.at.numel()

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(str(self.at.dtype).removeprefix("torch."))

    def operator(self, forward: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> LinearOperator:
        """Return `forward` as a linear operator whose transpose is the pull-back at `at`."""

        def shaped(vector: np.ndarray, like: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(np.array(vector)).to(like).reshape(like.shape)

        def matvec(vector: np.ndarray) -> np.ndarray:
            return forward(shaped(vector, self.at)).numpy(force=True).ravel()

        def rmatvec(vector: np.ndarray) -> np.ndarray:
            return pull_back(self, at, shaped(vector, self.value)).numpy(force=True).ravel()

        return LinearOperator(self.shape, matvec=matvec, rmatvec=rmatvec, dtype=self.dtype)


def jacobian(
    surrogate: Surrogate, at: xr.Dataset, *, input: str | None = None, output: str | None = None
) -> LinearOperator:
    """Return the Jacobian of an output with respect to an input, never formed: ``J v`` and ``J^T w``.

    Parameters
    ----------
    surrogate : differentiable.
    at : the inputs where it is taken; the batch counts among the unknowns.
    input, output : names; need not be given where there is one only. Arrays are flattened in C order and have the
        units of the spec.

    *Contract*: ``w . (J v) = v . (J^T w)`` up to rounding.
    """
    if "gradient" not in surrogate.supports:
        name = surrogate.network.registered
        raise ValueError(f"jacobian: expected a differentiable surrogate, got {name!r}; take differences instead")
    chosen = _Map(surrogate, at, input, output)
    return chosen.operator(lambda tangent: push_forward(chosen, chosen.at, tangent), chosen.at)


def linear_operator(
    surrogate: Surrogate, at: xr.Dataset, *, input: str | None = None, output: str | None = None
) -> LinearOperator:
    """Return a surrogate that is linear in an input as that linear map, ``A x`` by one call of the network.

    Parameters
    ----------
    surrogate : linear in the input; where it is not, it is refused.
    at : inputs; of the chosen one the shape counts, of the others the values.
    input, output : see :func:`jacobian`.

    Raises
    ------
    ValueError
        The surrogate is not linear: for two random x and y, ``f(2 x - 3 y)`` is not ``2 f(x) - 3 f(y)``.
    """
    chosen = _Map(surrogate, at, input, output)
    generator = torch.Generator().manual_seed(1729)
    x, y = (torch.randn(chosen.at.shape, generator=generator, dtype=torch.float64).to(chosen.at) for _ in range(2))
    with torch.no_grad():
        parts = 2 * chosen(x), -3 * chosen(y)
        gap = (chosen(2 * x - 3 * y) - parts[0] - parts[1]).abs().max()
    scale = max(part.abs().max() for part in parts)
    if gap > SLACK.get(chosen.at.dtype, 1e-2) * scale:
        wanted, got = f"{chosen.output!r} linear in {chosen.input!r}", f"a defect of {float(gap / scale):.1e}"
        raise ValueError(f"linear_operator: expected {wanted}, got {got}; use the jacobian")

    def forward(vector: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return chosen(vector)

    return chosen.operator(forward, torch.zeros_like(chosen.at))


def preconditioner(
    surrogate: Surrogate, at: xr.Dataset, *, input: str | None = None, output: str | None = None
) -> LinearOperator:
    """Return a linear surrogate ``M r`` that maps residuals to corrections, as SciPy's methods take by ``M=``.

    Parameters
    ----------
    surrogate, at, input, output : see :func:`linear_operator`; output and input of equal size.

    Raises
    ------
    ValueError
        It is not linear, not square, or not symmetric, as the method of conjugate gradients needs it.
    """
    found = linear_operator(surrogate, at, input=input, output=output)
    if found.shape[0] != found.shape[1]:
        raise ValueError(f"preconditioner: expected a square map, got {found.shape}; choose input and output")
    rng = np.random.default_rng(1729)
    u, v = rng.normal(size=(2, found.shape[1]))
    left, right = u @ (found @ v), v @ (found @ u)
    size = np.linalg.norm(u) * np.linalg.norm(found @ v)
    slack = 1e-10 if found.dtype == np.float64 else 1e-4
    if abs(left - right) > slack * size:
        got = f"a defect of {abs(left - right) / size:.1e}"
        raise ValueError(f"preconditioner: expected a symmetric map, got {got}; use linear_operator with GMRES")
    return found


def _choose(kind: str, name: str | None, names: list[str]) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise ValueError(f"{kind}: expected one of {', '.join(names)}, got {name!r}; choose")
    return name
