"""`sciml export --to c`: a folder that C, C++ and Fortran programs link against."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from sciml import FieldSpec, Region, Surrogate
from sciml.artifact import atomic_folder
from sciml_couplings.aot import (
    Size,
    Traced,
    compile_package,
    differences,
    dtype_of,
    load_package,
    trace,
)

ABI_VERSION = 1
SOURCES = ("backend.h", "checks.hpp", "checks.cpp", "abi.cpp", "backend_torch.cpp")
EXAMPLES = ("harvest.c", "harvest.cpp", "harvest.f90")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def to_c(surrogate: Surrogate, path: str | Path, *, sizes: Mapping[str, int] | None = None) -> None:
    """Write the folder `path` with everything that a program in C, C++ or Fortran needs to call a surrogate.

    The program of `torch.export` is portable; the package compiled from it and the shared library are for this
    processor and this libtorch. Nothing is written unless the compiled package gives what Python gives.

    Parameters
    ----------
    surrogate : on the CPU.
    path : of the new folder.
    sizes : of dimensions that the network leaves open but a trace may fix, such as the cells of a grid.

    Raises
    ------
    ValueError
        The network cannot be traced, or there is no C++ compiler; the message says why.

    *Contract*: the numbers of `surrogate(**tensors)` up to the rounding of another order of operations.
    """
    traced = trace(surrogate, sizes=sizes)
    with atomic_folder(path) as folder:
        torch.export.save(traced.program, folder / "program.pt2")
        compile_package(traced, folder / "surrogate.pt2")
        _require_parity(surrogate, traced, folder / "surrogate.pt2")
        write_spec(surrogate, traced.sizes, folder, folder / "surrogate.pt2")
        write_sources(folder)
        build_library(folder, ("backend_torch.cpp",), torch_flags())


def _require_parity(surrogate: Surrogate, traced: Traced, package: Path) -> None:
    compiled, tolerance = load_package(package), TOLERANCE[dtype_of(surrogate)]
    for name, (gap, scale) in differences(surrogate, traced.sizes, compiled).items():
        if not gap <= tolerance * scale:
            got = f"a difference of {gap:.1e} beside {scale:.1e}"
            raise ValueError(f"export: expected {name!r} of the compiled package as in Python, got {got}; report it")


def write_spec(surrogate: Surrogate, sizes: Mapping[str, Size], folder: Path, package: Path) -> None:
    """Write surrogate.spec, the lines that the shared library checks every call against.

    Parameters
    ----------
    surrogate : its fields, bounds and training domain.
    sizes : of all dimensions.
    folder : where to write.
    package : the file to run, in that folder.
    """
    data, dtype = package.read_bytes(), dtype_of(surrogate)
    lines: list[tuple[object, ...]] = [
        ("sciml-surrogate-c", ABI_VERSION),
        ("dtype", str(dtype).removeprefix("torch.")),
        ("device", "cpu"),
        ("processor", torch.backends.cpu.get_cpu_capability()),
        ("package", package.name, len(data), zlib.crc32(data)),
        ("batch", surrogate.spec.batch_dim),
    ]
    for dim, size in sizes.items():
        numbers = (-1 if number is None else number for number in (size.fixed, size.least, size.most))
        lines.append(("dim", dim, *numbers))
    for kind, fields in (("input", surrogate.spec.inputs), ("output", surrogate.spec.outputs)):
        for field in fields:
            lines += _field_lines(kind, field, surrogate.domain.get(field.name), dtype)
    lines.append(("end", len(lines)))
    text = ["\t".join(map(str, line)) for line in lines]
    if any(line.count("\t") != len(words) - 1 or "\n" in line for line, words in zip(text, lines, strict=True)):
        raise ValueError("export: expected names and units without tabs and line ends, got some; rename them")
    (folder / "surrogate.spec").write_text("\n".join(text) + "\n", encoding="utf-8")


def _field_lines(kind: str, field: FieldSpec, domain: Region | None, dtype: torch.dtype) -> list[tuple[object, ...]]:
    lines: list[tuple[object, ...]] = [(kind, field.name, field.unit, int(field.missing), *field.dims)]
    for name, region in (("bounds", field.bounds), ("domain", domain)):
        if region is not None:
            lines += [(name, *low, *high) for low, high in _widened(region, dtype)]
    return lines


def _widened(region: Region, dtype: torch.dtype) -> list[tuple[list[float], list[float]]]:
    """Return the boxes with the slack of `Region.contains`, and that of rounding to the type of the surrogate."""
    corners = np.array(region.boxes)
    widths = corners[:, 1] - corners[:, 0]
    slack = 1e-9 * np.where(np.isfinite(widths), widths, 1.0).max()
    largest = np.abs(corners[np.isfinite(corners)]).max(initial=0.0)
    slack = max(slack, 2e-15 * largest, torch.finfo(dtype).eps * largest)
    return [((low - slack).tolist(), (high + slack).tolist()) for low, high in corners]


def write_sources(folder: Path) -> None:
    """Write header, sources, Fortran module, examples and build files into `folder`."""
    native = resources.files("sciml_couplings") / "native"
    places = {
        "include": ("sciml_surrogate.h",),
        "src": SOURCES,
        "fortran": ("sciml_surrogate.f90",),
        "examples": tuple(f"examples/{name}" for name in EXAMPLES),
        ".": ("CMakeLists.txt", "README.md"),
        "lib/pkgconfig": ("sciml_surrogate.pc",),
    }
    for place, names in places.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / place / Path(name).name).write_bytes((native / name).read_bytes())


def torch_flags() -> list[str]:
    """Return the compiler's flags for the libtorch of this Python, found again at run time by its path."""
    root = Path(torch.__file__).parent
    includes = [f"-I{root / 'include'}", f"-I{root / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    library = root / "lib"
    return [*includes, abi, f"-L{library}", f"-Wl,-rpath,{library}", "-ltorch", "-ltorch_cpu", "-lc10"]


def build_library(folder: Path, backends: tuple[str, ...], flags: list[str]) -> None:
    """Compile lib/libsciml_surrogate.so from the sources in `folder`.

    Parameters
    ----------
    folder : with src and include.
    backends : sources in src beside the checks and the interface.
    flags : further ones of the compiler.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise ValueError("export: expected the compiler g++, got none; install it (Debian: apt-get install g++)")
    sources = [str(folder / "src" / name) for name in ("checks.cpp", "abi.cpp")]
    for name in backends:
        sources += ["-x", "c" if name.endswith(".c") else "c++", str(folder / "src" / name), "-x", "none"]
    command = [compiler, "-std=c++20", "-O2", "-fPIC", "-shared", f"-I{folder / 'include'}", f"-I{folder / 'src'}"]
    target = folder / "lib" / "libsciml_surrogate.so"
    done = subprocess.run([*command, "-o", str(target), *sources, *flags], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"export: expected g++ to build {target.name}, got: {done.stderr.strip()[-2000:]}")
