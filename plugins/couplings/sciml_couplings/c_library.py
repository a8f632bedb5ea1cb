"""An exported C library, called from Python through ctypes as a C program calls it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAX_RANK = 8
DTYPES = {"float32": 1, "float64": 2}
REFUSE = 0


class Tensor(ctypes.Structure):
    """The header's ``sciml_tensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("n_bytes", ctypes.c_int64),
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )

    @classmethod
    def around(cls, array: np.ndarray) -> Tensor:
        """Return the description of a dense `array`, which has to outlive it."""
        rank = min(array.ndim, MAX_RANK)
        shape = (ctypes.c_int64 * MAX_RANK)(*array.shape[:rank])
        return cls(array.ctypes.data, array.nbytes, shape, rank, DTYPES[array.dtype.name], 0, 0)


class Field(ctypes.Structure):
    """The header's ``sciml_field``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("unit", ctypes.c_char_p),
        ("dims", ctypes.c_char_p * MAX_RANK),
        ("sizes", ctypes.c_int64 * MAX_RANK),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("device", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class CLibrary:
    """The surrogate of an exported folder.

    Parameters
    ----------
    folder : written by ``sciml export --to c``.
    n_runners : predictions at the same time.

    *Contract*: what the library refuses is a ValueError with its sentence; any number of threads may call it.
    """

    def __init__(self, folder: str | Path, *, n_runners: int = 2) -> None:
        path = Path(folder) / "lib" / "libsciml_surrogate.so"
        if not path.is_file():
            raise ValueError(f"{folder}: expected lib/{path.name}, got none; write it by sciml export --to c")
        self._library = ctypes.CDLL(str(path))
        self._library.sciml_last_error.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        opened = self._library.sciml_open(str(folder).encode(), ctypes.c_int32(n_runners), ctypes.byref(self._handle))
        self._require(opened)
        self.inputs, self.outputs = self._fields("input"), self._fields("output")

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name for inputs by name."""
        kinds = {code: np.dtype(name) for name, code in DTYPES.items()}
        given = [np.ascontiguousarray(arrays[f.name.decode()], dtype=kinds[f.dtype]) for f in self.inputs]
        known: dict[bytes, int] = {}
        for field, array in zip(self.inputs, given, strict=True):
            for dim, n in zip(field.dims, array.shape, strict=False):
                known.setdefault(dim, n)
        found = []
        for field in self.outputs:
            sizes = zip(field.dims[: field.rank], field.sizes[: field.rank], strict=True)
            found.append(np.empty([known.get(dim, 1) if n < 0 else n for dim, n in sizes], dtype=kinds[field.dtype]))
        inputs, outputs = ((Tensor * len(each))(*map(Tensor.around, each)) for each in (given, found))
        self._require(
            self._library.sciml_predict_batch(
                self._handle, inputs, len(given), outputs, len(found), REFUSE, ctypes.POINTER(ctypes.c_uint64)()
            )
        )
        return {field.name.decode(): array for field, array in zip(self.outputs, found, strict=True)}

    def close(self) -> None:
        """Close the handle; the surrogate answers no more."""
        self._library.sciml_close(self._handle)
        self._handle = ctypes.c_void_p()

    def _fields(self, kind: str) -> list[Field]:
        n = getattr(self._library, f"sciml_n_{kind}s")(self._handle)
        fields = [Field() for _ in range(n)]
        for index, field in enumerate(fields):
            self._require(getattr(self._library, f"sciml_{kind}")(self._handle, index, ctypes.byref(field)))
        return fields

    def _require(self, status: int) -> None:
        if status != 0:
            raise ValueError(f"status {status}: {self._library.sciml_last_error().decode()}")
