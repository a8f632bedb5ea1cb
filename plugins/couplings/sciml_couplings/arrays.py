"""The fast path for arrays of any library that speaks DLPack: nothing is copied on the way in or out."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from sciml import Surrogate
from sciml_couplings.sample import reference


def call(surrogate: Surrogate, /, **arrays: Any) -> dict[str, Any]:
    """Return the outputs as arrays of the inputs' library, sharing memory with what the network wrote.

    Parameters
    ----------
    surrogate : on the device where the arrays lie.
    arrays : NumPy, CuPy, JAX, torch or other DLPack arrays of one library by input name, in the units of the spec, in
        the precision and on the device of the surrogate; as of every fast path, values are not checked.

    Raises
    ------
    ValueError
        An input is missing or unknown, of another precision or on another device, where a copy would be needed.

    *Contract*: no number is copied; the inputs are unchanged; no gradient is recorded.

    Examples
    --------
    >>> from sciml_couplings.arrays import tensor
    >>> import numpy as np
    >>> x = np.zeros(3)
    >>> tensor("x", x).data_ptr() == x.ctypes.data
    True
    """
    names = [field.name for field in surrogate.spec.inputs]
    if sorted(arrays) != sorted(names):
        raise ValueError(f"call: expected {', '.join(names)}, got {', '.join(arrays) or 'none'}; give each once")
    like = reference(surrogate)
    tensors = {name: tensor(name, array) for name, array in arrays.items()}
    for name, given in tensors.items():
        if given.dtype != like.dtype or given.device != like.device:
            wanted, got = f"{like.dtype} on {like.device}", f"{given.dtype} on {given.device}"
            raise ValueError(f"input {name!r}: expected {wanted}, got {got}; convert it once, before the loop")
    with torch.no_grad():
        outputs = surrogate(**tensors)
    library = type(arrays[names[0]]).__module__.partition(".")[0]
    return {field.name: _as_of(library, outputs[field.name].detach()) for field in surrogate.spec.outputs}


def tensor(name: str, array: Any) -> torch.Tensor:
    """Return `array`, the input called `name`, as a tensor of the same memory."""
    if isinstance(array, torch.Tensor):
        return array.detach()
    try:
        # A reader alone: NumPy lends what may not be written to nobody.
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise BufferError("an array that may not be written")
        found: torch.Tensor = torch.from_dlpack(array)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        got = f"{type(array).__name__}: {error}"
        raise ValueError(f"input {name!r}: expected an array that DLPack can share, got {got}; copy it once") from error
    return found


def _as_of(library: str, output: torch.Tensor) -> Any:
    if library == "torch":
        return output
    if library == "numpy":
        return output.numpy()
    # JAX keeps it beside its arrays' implementation, the others at the top.
    home = importlib.import_module("jax.dlpack" if library in ("jax", "jaxlib") else library)
    return home.from_dlpack(output)
