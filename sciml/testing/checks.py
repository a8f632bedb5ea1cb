"""One sentence of a contract, held or broken, and the error that names all broken ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

# Relative to the largest magnitude of the output: what a different order of summation may change.
TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "float16": 1e-2}


@dataclass(frozen=True)
class Check:
    """One sentence of a contract, whether it holds, and what was found."""

    name: str
    passed: bool
    detail: str = ""


def assert_all(checks: Iterable[Check]) -> None:
    """Raise an AssertionError with the sentence and the finding of every failed check."""
    failed = [check for check in checks if not check.passed]
    if failed:
        raise AssertionError("\n".join(f"{check.name}: {check.detail}" for check in failed))


def verify(statements: Mapping[str, Callable[[], str | None]]) -> list[Check]:
    """Try each statement; it holds when its function returns (a remark or None) and is broken when that raises."""
    return [_verify(name, function) for name, function in statements.items()]


def _verify(name: str, function: Callable[[], str | None]) -> Check:
    try:
        return Check(name, True, function() or "")
    except AssertionError as error:
        return Check(name, False, str(error))
    except Exception as error:
        return Check(name, False, f"got {type(error).__name__}: {error}")


def require(condition: object, finding: str) -> None:
    """Raise an AssertionError with the finding unless the condition holds."""
    if not condition:
        raise AssertionError(finding)


def require_close(found: xr.Dataset, wanted: xr.Dataset, factor: float = 1.0, scale: xr.Dataset | None = None) -> None:
    """Require equal variables up to `factor` times the tolerance of their dtype; a factor of 0 asks for equal bits.

    The tolerance is relative to the largest magnitude in `scale`, by default `wanted`. NaN, which marks what is
    missing, must stand in the same places.
    """
    scale = wanted if scale is None else scale
    for name, reference in wanted.data_vars.items():
        a, b = found[name].values, reference.values
        require(a.shape == b.shape, f"{name!r}: expected shape {b.shape}, got {a.shape}")
        if factor == 0.0:
            require(
                np.array_equal(a, b, equal_nan=True),
                f"{name!r}: expected equal bits, got a difference of {_gap(a, b):.2e}",
            )
            continue
        allowed = factor * TOLERANCE.get(str(b.dtype), 1e-10) * _largest(scale[name].values)
        require(_gap(a, b) <= allowed, f"{name!r}: expected a difference <= {allowed:.2e}, got {_gap(a, b):.2e}")


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference, infinity where one is NaN and the other is not."""
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    return _largest(a.astype(float) - b.astype(float))


def _largest(values: np.ndarray) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


def require_refusal(call: Callable[[], object], *words: str) -> str:
    """Require that `call` raises a ValueError or TypeError whose sentence contains the words; return the sentence."""
    try:
        call()
    except (ValueError, TypeError) as error:
        text = str(error)
        absent = [word for word in words if word not in text]
        require(not absent, f"expected a sentence with {', '.join(absent)}, got {text!r}")
        return text
    raise AssertionError("expected a ValueError, got an answer")
