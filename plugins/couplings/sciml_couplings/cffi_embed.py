"""`sciml export --to cffi`: the same C header for surrogates that cannot be compiled, run by an embedded Python."""

from __future__ import annotations

import contextlib
import io
import sysconfig
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from sciml import Surrogate
from sciml.artifact import atomic_folder
from sciml_couplings.aot import Size, components
from sciml_couplings.c_export import build_library, write_sources, write_spec

MODULE = "_sciml_embedded"
INTERFACE = """
typedef struct sciml_tensor {
    void *data; int64_t n_bytes; int64_t shape[8]; int32_t rank; int32_t dtype; int32_t device; int32_t reserved;
} sciml_tensor;
int32_t sciml_backend_open(const char *, int32_t, int32_t, void **, char *, int32_t);
int32_t sciml_backend_run(void *, const sciml_tensor *, int32_t, const sciml_tensor *, int32_t, char *, int32_t);
int32_t sciml_backend_to_host(void *, const sciml_tensor *, void *, char *, int32_t);
void sciml_backend_close(void *);
"""


def to_cffi(surrogate: Surrogate, path: str | Path, *, sizes: Mapping[str, int] | None = None) -> None:
    """Write the folder `path` whose shared library answers the C header by the network itself, in this Python.

    The folder is a saved surrogate too: `sciml.load` reads it. Header, Fortran module, checks and examples are those of
    the target c. The library holds the paths of the Python environment that wrote it, and starts it on first use.

    Parameters
    ----------
    surrogate : of an installed plugin.
    path : of the new folder.
    sizes : of dimensions that the network fixes; components of bounded vectors are known without.

    *Contract*: the numbers of `surrogate(**tensors)` to the bit.
    """
    fixed = {**{name: len(values) for name, (_, values) in surrogate.spec.coords.items()}, **components(surrogate)}
    fixed |= dict(sizes or {})
    fields = (*surrogate.spec.inputs, *surrogate.spec.outputs)
    dims = dict.fromkeys(dim for field in fields for dim in field.dims)
    with atomic_folder(path) as folder:
        surrogate.save(folder)
        write_spec(surrogate, {dim: Size(fixed.get(dim)) for dim in dims}, folder, folder / "weights.safetensors")
        write_sources(folder)
        _write_backend(folder / "src" / "backend_python.c")
        build_library(folder, ("backend_python.c",), _python_flags())


def _write_backend(path: Path) -> None:
    from cffi import FFI

    ffi = FFI()
    ffi.embedding_api(INTERFACE)
    ffi.set_source(MODULE, '#include "backend.h"')
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    start = (resources.files("sciml_couplings") / "native" / "start_python.txt").read_text(encoding="utf-8")
    ffi.embedding_init_code(start.replace("PLACES = []", f"PLACES = {places!r}"))
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it writes
        ffi.emit_c_code(str(path))


def _python_flags() -> list[str]:
    config = sysconfig.get_config_var
    if not config("Py_ENABLE_SHARED"):
        raise ValueError("export: expected a Python with a shared library, got a static one; use one built with it")
    library, name = config("LIBDIR"), f"python{config('LDVERSION')}"
    return [f"-I{sysconfig.get_path('include')}", f"-L{library}", f"-Wl,-rpath,{library}", f"-l{name}"]
