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
def sciml_experiments() -> list[Registration]:
    """Register `sciml run couplings`."""
    summary = "One surrogate asked from C, Fortran, ONNX Runtime, UM-Bridge and mock-up units"
    return [Registration("couplings", "sciml_couplings.experiment:Couplings", summary)]


@hookimpl
def sciml_operators() -> list[Registration]:
    """Register the operator that asks a model behind a URL; it is made with the URL and the fields."""
    target = "sciml_couplings.umbridge_operator:UmbridgeOperator"
    return [Registration("couplings.umbridge", target, "Any UM-Bridge model behind a URL", ("umbridge",), "serve")]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register the surrogate that the experiment exports."""
    return [
        Registration("couplings.harvest", "sciml_couplings.harvest:HarvestNet", "A harvest rule known as a formula")
    ]


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
