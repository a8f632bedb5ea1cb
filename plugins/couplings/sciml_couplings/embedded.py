"""What the embedded Python answers to the shared library that `sciml export --to cffi` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sciml

DTYPES = {1: torch.float32, 2: torch.float64}


def answer_calls(ffi: Any) -> None:
    """Define the functions of backend.h; the arrays have been checked, and errors become text.

    Parameters
    ----------
    ffi : of the compiled module.
    """
    handles: dict[Any, sciml.Surrogate] = {}

    def tensor(array: Any) -> torch.Tensor:
        shape, dtype = list(array.shape[0 : array.rank]), DTYPES[array.dtype]
        n_bytes = dtype.itemsize * int(torch.Size(shape).numel())
        return torch.frombuffer(ffi.buffer(array.data, n_bytes), dtype=dtype).reshape(shape)

    def told(error: Any, n_error: int, body: Callable[[], None]) -> int:
        try:
            body()
        except Exception as found:  # a network may raise anything; the caller reads the text
            text = f"{type(found).__name__}: {found}".encode(errors="replace")[: n_error - 1] + b"\0"
            ffi.memmove(error, text, len(text))
            return 1
        return 0

    @ffi.def_extern()
    def sciml_backend_open(package: Any, device: int, n_runners: int, backend: Any, error: Any, n_error: int) -> int:
        def body() -> None:
            surrogate = sciml.load(Path(ffi.string(package).decode()).parent)
            handle = ffi.new_handle(surrogate)
            handles[handle] = surrogate
            backend[0] = handle

        return told(error, n_error, body)

    @ffi.def_extern()
    def sciml_backend_run(
        backend: Any, inputs: Any, n_inputs: int, outputs: Any, n_outputs: int, error: Any, n_error: int
    ) -> int:
        def body() -> None:
            surrogate: sciml.Surrogate = ffi.from_handle(backend)
            given = {field.name: tensor(inputs[i]) for i, field in enumerate(surrogate.spec.inputs)}
            with torch.no_grad():
                found = surrogate(**given)
            for i, field in enumerate(surrogate.spec.outputs):
                wanted, got = tensor(outputs[i]), found[field.name]
                if wanted.shape != got.shape:
                    got_shape = tuple(got.shape)
                    raise ValueError(f"output {field.name!r}: expected room for {got_shape}, got {tuple(wanted.shape)}")
                wanted.copy_(got)

        return told(error, n_error, body)

    @ffi.def_extern()
    def sciml_backend_to_host(backend: Any, array: Any, host: Any, error: Any, n_error: int) -> int:
        def body() -> None:
            raise ValueError("expected arrays in host memory, got a device pointer; copy it")

        return told(error, n_error, body)

    @ffi.def_extern()
    def sciml_backend_close(backend: Any) -> None:
        handles.pop(backend, None)
