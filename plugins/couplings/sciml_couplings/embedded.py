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
    answers = _Answers(ffi)
    for name in ("open", "run", "to_host", "close"):
        ffi.def_extern(name=f"sciml_backend_{name}")(getattr(answers, name))


class _Answers:
    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi
        self._surrogates: dict[Any, sciml.Surrogate] = {}  # by handle, which lives as long as its key

    def open(self, package: Any, device: int, n_runners: int, backend: Any, error: Any, n_error: int) -> int:
        def body() -> None:
            surrogate = sciml.load(Path(self._ffi.string(package).decode()).parent)
            handle = self._ffi.new_handle(surrogate)
            self._surrogates[handle] = surrogate
            backend[0] = handle

        return self._told(error, n_error, body)

    def run(
        self, backend: Any, inputs: Any, n_inputs: int, outputs: Any, n_outputs: int, error: Any, n_error: int
    ) -> int:
        def body() -> None:
            surrogate: sciml.Surrogate = self._ffi.from_handle(backend)
            given = {field.name: self._tensor(inputs[i]) for i, field in enumerate(surrogate.spec.inputs)}
            with torch.no_grad():
                found = surrogate(**given)
            for i, field in enumerate(surrogate.spec.outputs):
                wanted, got = self._tensor(outputs[i]), found[field.name]
                if wanted.shape != got.shape:
                    shapes = f"{tuple(got.shape)}, got {tuple(wanted.shape)}"
                    raise ValueError(f"output {field.name!r}: expected room for {shapes}; give an array of that shape")
                wanted.copy_(got)

        return self._told(error, n_error, body)

    def to_host(self, backend: Any, array: Any, host: Any, error: Any, n_error: int) -> int:
        def body() -> None:
            raise ValueError("expected arrays in host memory, got a device pointer; copy it")

        return self._told(error, n_error, body)

    def close(self, backend: Any) -> None:
        self._surrogates.pop(backend, None)

    def _tensor(self, array: Any) -> torch.Tensor:
        shape, dtype = list(array.shape[0 : array.rank]), DTYPES[array.dtype]
        n_bytes = dtype.itemsize * torch.Size(shape).numel()
        return torch.frombuffer(self._ffi.buffer(array.data, n_bytes), dtype=dtype).reshape(shape)

    def _told(self, error: Any, n_error: int, body: Callable[[], None]) -> int:
        try:
            body()
        except Exception as found:  # a network may raise anything; the caller reads the text
            text = f"{type(found).__name__}: {found}".encode(errors="replace")[: n_error - 1] + b"\0"
            self._ffi.memmove(error, text, len(text))
            return 1
        return 0
