"""What the couplings register; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"
# Modules beyond the base dependencies, and the extra that brings them.
ONNX = (("onnx", "onnxruntime", "onnxscript"), "onnx")
SERVE = (("umbridge", "aiohttp"), "serve")
FMI = (("pythonfmu",), "fmi")
FMI3 = (("pythonfmu3",), "fmi")
DASK = (("dask",), "dask")


@hookimpl
def sciml_couplings() -> list[Registration]:
    """Register the programs that a surrogate can be written for."""
    return [
        Registration("couplings.c", "sciml_couplings.c_export:to_c", "C, C++ and Fortran programs, compiled"),
        Registration(
            "couplings.cffi", "sciml_couplings.cffi_embed:to_cffi", "The same header, run by Python", ("cffi",), "cffi"
        ),
        Registration("couplings.onnx", "sciml_couplings.onnx_export:export_onnx", "ONNX model", *ONNX),
        Registration("couplings.fmu", "sciml_couplings.fmu:export_fmu", "FMI 2 co-simulation unit", *FMI),
        Registration("couplings.fmu3", "sciml_couplings.fmu:export_fmu3", "FMI 3 unit, fields as arrays", *FMI3),
        Registration("couplings.c.check", "sciml_couplings.checks:check_c", "Whether the C library keeps its word"),
        Registration("couplings.onnx.check", "sciml_couplings.checks:check_onnx", "Whether ONNX Runtime does", *ONNX),
        Registration("couplings.umbridge.check", "sciml_couplings.checks:check_umbridge", "Whether serve does", *SERVE),
        Registration("couplings.dask.check", "sciml_couplings.checks:check_dask", "Whether chunks do", *DASK),
    ]
