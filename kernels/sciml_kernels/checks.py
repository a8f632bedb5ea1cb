"""Cheap checks of an op's arguments, made before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from sciml_kernels.precision import DTYPES, dtype_name


def check_alike(where: str, tensors: Mapping[str, torch.Tensor | None]) -> None:
    """Raise unless all that is given are tensors of one supported type on one device.

    Parameters
    ----------
    where
        The op's name, the first words of the message.
    tensors
        Arguments by name, the first of which sets the type and the device; None stands for an argument left out.
    """
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor is None and name != first_name:
            continue
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"{where}: expected {name} as a torch.Tensor, got {type(tensor).__name__}; convert it first"
            )
        if tensor.dtype not in DTYPES:
            known = ", ".join(dtype_name(dtype) for dtype in DTYPES)
            raise TypeError(
                f"{where}: expected {name} of type {known}, got {dtype_name(tensor.dtype)}; convert it with .to()"
            )
        assert first is not None
        if tensor.dtype != first.dtype:
            wanted, got = dtype_name(first.dtype), dtype_name(tensor.dtype)
            raise TypeError(
                f"{where}: expected {name} of type {wanted} as {first_name} is, got {got}; convert one of them"
            )
        if tensor.device != first.device:
            raise ValueError(
                f"{where}: expected {name} on {first.device} as {first_name} is, got {tensor.device}; move one of them"
            )


def check_rank(where: str, name: str, tensor: torch.Tensor, axes: Sequence[str]) -> None:
    """Raise unless `tensor` has one axis for each name in `axes`."""
    if tensor.ndim != len(axes):
        shape = tuple(tensor.shape)
        raise ValueError(f"{where}: expected {name} of shape ({', '.join(axes)}), got shape {shape}; reshape it")


def check_shape(where: str, name: str, tensor: torch.Tensor, axes: Mapping[str, int]) -> None:
    """Raise unless `tensor` has exactly the named axes with these lengths."""
    check_rank(where, name, tensor, tuple(axes))
    if tuple(tensor.shape) != tuple(axes.values()):
        wanted = ", ".join(f"{axis}={length}" for axis, length in axes.items())
        raise ValueError(
            f"{where}: expected {name} of shape ({wanted}), got {tuple(tensor.shape)}; reshape one of the inputs"
        )
