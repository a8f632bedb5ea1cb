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


def check_pointer(where: str, pointer: torch.Tensor, edge: torch.Tensor) -> None:
    """Raise unless `pointer` cuts the rows of `edge` into segments: int64, from 0 up to their number, never down.

    The values are looked at whenever there are any: not in a compiled or exported graph. On a GPU this waits for them.
    """
    n_edge = edge.shape[0]
    _check_integers(where, "pointer", pointer, edge)
    check_rank(where, "pointer", pointer, ("node + 1",))
    if not pointer.shape[0]:
        raise ValueError(f"{where}: expected pointer of at least one entry, got none; begin it with 0")
    if torch.compiler.is_compiling():
        return
    first, last = int(pointer[0]), int(pointer[-1])
    if first != 0 or last != n_edge:
        raise ValueError(f"{where}: expected pointer from 0 to {n_edge}, got {first} to {last}; count the rows again")
    falls = pointer[1:] < pointer[:-1]
    if bool(falls.any()):
        at = int(falls.nonzero()[0, 0])
        got = f"{int(pointer[at])} followed by {int(pointer[at + 1])} at entry {at}"
        raise ValueError(f"{where}: expected pointer that never falls, got {got}; sort the rows by segment")


def check_index(
    where: str, name: str, index: torch.Tensor, like: torch.Tensor, n_node: int, n_edge: int | None = None
) -> None:
    """Raise unless `index` (edge,) holds int64 nodes on the device of `like`, each at least 0 and below `n_node`.

    The values are looked at whenever there are any: not in a compiled or exported graph. On a GPU this waits for them.

    Parameters
    ----------
    n_edge
        How many it must hold; None for any number.
    """
    _check_integers(where, name, index, like)
    check_rank(where, name, index, ("edge",))
    if n_edge is not None:
        check_shape(where, name, index, {"edge": n_edge})
    if torch.compiler.is_compiling() or not index.numel():
        return
    least, most = (int(end) for end in torch.aminmax(index))
    if least < 0 or most >= n_node:
        raise ValueError(
            f"{where}: expected {name} from 0 to {n_node - 1}, got {least} to {most}; number the nodes again"
        )


def _check_integers(where: str, name: str, tensor: torch.Tensor, like: torch.Tensor) -> None:
    """Raise unless `tensor` holds int64 numbers on the device of `like`."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{where}: expected {name} as a torch.Tensor, got {type(tensor).__name__}; convert it first")
    if tensor.dtype != torch.int64:
        raise TypeError(
            f"{where}: expected {name} of type int64, got {dtype_name(tensor.dtype)}; convert it with .long()"
        )
    if tensor.device != like.device:
        raise ValueError(f"{where}: expected {name} on {like.device}, got {tensor.device}; move one of them")
