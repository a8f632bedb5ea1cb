"""Which implementation of an op runs: the variable ``SCIML_KERNELS`` and the context manager `use_backend`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Collection, Iterator

BACKENDS = ("auto", "reference", "triton")
VARIABLE = "SCIML_KERNELS"
# Packages whose kernels run on a device, the one to take first in front.
_PACKAGES = {"cpu": ("numba", "torch"), "cuda": ("triton",)}

# A process-wide stack, not a context variable: the backward pass on a GPU runs in another thread and has to see the
# same choice.
_forced: list[str] = []


def backend() -> str:
    """Return the choice in force: the innermost `use_backend`, else ``SCIML_KERNELS``, else ``"auto"``."""
    if _forced:
        return _forced[-1]
    return _known(os.environ.get(VARIABLE, "auto"), VARIABLE)


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Force one of ``"auto"``, ``"reference"``, ``"triton"`` for every op of the process while the block runs.

    Examples
    --------
    >>> with use_backend("reference"):
    ...     backend()
    'reference'
    """
    _forced.append(_known(name, "use_backend"))
    try:
        yield
    finally:
        _forced.pop()


def choose(launchers: Collection[str], device_type: str, pays: bool = True) -> str:
    """Return ``"reference"`` or the name of the launcher that runs on `device_type` under the choice in force.

    Parameters
    ----------
    launchers
        Names of the kernels the op has, such as ``("triton",)`` or ``("numba", "triton")``; ``"torch"`` is plain torch
        for the CPU that is faster than the reference and has no derivatives.
    device_type
        ``"cpu"`` or ``"cuda"``.
    pays
        Whether the op expects its kernel to be faster than plain torch on these inputs; looked at under ``"auto"``
        only.
    """
    chosen = backend()
    if chosen == "triton":
        if "triton" not in launchers:
            raise ValueError(f"{VARIABLE}: expected an op with a Triton kernel, got one without; use auto or reference")
        if not importlib.util.find_spec("triton"):
            raise RuntimeError(
                f"{VARIABLE}: expected triton to be installed, got no such package; use auto or reference"
            )
        return "triton"
    if chosen == "reference" or not pays:
        return "reference"
    able = (name for name in _PACKAGES.get(device_type, ()) if name in launchers and importlib.util.find_spec(name))
    return next(able, "reference")


def _known(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{where}: expected one of {', '.join(BACKENDS)}, got {name!r}; set one of these three")
    return name
