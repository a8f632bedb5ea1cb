"""`sciml check ARTIFACT --target T`: one artifact on one target, tried as its callers would call it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from sciml import Spec, Surrogate
from sciml.testing import Check, check_coupling

N_CALLS = 10_000
Arrays = dict[str, np.ndarray]
Sizes = Mapping[str, int] | None


def check_onnx(surrogate: Surrogate, n_calls: int = N_CALLS, *, sizes: Sizes = None) -> list[Check]:
    """Export to ONNX and call the model by ONNX Runtime.

    Parameters
    ----------
    surrogate : on the CPU.
    n_calls : that must leave memory as it was.
    sizes : of the dimensions that the network fixes and its spec does not tell.
    """
    from sciml_couplings.onnx_export import OnnxOperator, export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surrogate.onnx"
        export_onnx(surrogate, path, sizes=sizes)
        operator = OnnxOperator(path)

        def call(arrays: Arrays) -> Arrays:
            return _arrays(operator(_dataset(surrogate.spec, arrays)))

        return check_coupling(surrogate, call, n_calls=n_calls, sizes=sizes)


def check_umbridge(surrogate: Surrogate, n_calls: int = N_CALLS, *, sizes: Sizes = None) -> list[Check]:
    """Serve on loopback and ask by the protocol's public client, one sample a request; parameters as for ONNX."""
    import umbridge

    from sciml.testing import example_inputs
    from sciml_couplings.sample import Sample, free_dims
    from sciml_couplings.umbridge_model import SurrogateModel
    from sciml_couplings.umbridge_server import serving

    spec = surrogate.spec
    example = example_inputs(spec, 1, 2017, surrogate.domain, sizes)
    lengths = {dim: example.sizes[dim] for dim in free_dims(surrogate)}
    shapes = Sample(surrogate, lengths).output_shapes()
    names = [f.name for f in spec.outputs if not f.name.endswith("_std")]
    names += [f.name for f in spec.outputs if f.name.endswith("_std")]
    with serving({"forward": SurrogateModel(surrogate, lengths)}) as url:
        model = umbridge.HTTPModel(url, "forward")

        def call(arrays: Arrays) -> Arrays:
            vectors = [arrays[field.name].ravel().tolist() for field in spec.inputs]
            try:
                found = model(vectors, {"uncertainty": True})
            except Exception as error:  # the client has one kind of exception
                if "InvalidInput" in str(error) or "not JSON compliant" in str(error):
                    raise ValueError(str(error)) from error
                raise
            return {name: np.array(values).reshape(shapes[name]) for name, values in zip(names, found, strict=True)}

        return check_coupling(surrogate, call, n_samples=1, n_calls=n_calls, sizes=sizes)


def check_dask(surrogate: Surrogate, n_calls: int = N_CALLS, *, sizes: Sizes = None) -> list[Check]:
    """Save, and predict in chunks of one sample; parameters as for ONNX."""
    from sciml_couplings.chunked import predict_chunked

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surrogate"
        surrogate.save(path)

        def call(arrays: Arrays) -> Arrays:
            data = _dataset(surrogate.spec, arrays).chunk({surrogate.spec.batch_dim: 1})
            return _arrays(predict_chunked(path, data).compute(scheduler="threads"))

        return check_coupling(surrogate, call, n_calls=n_calls, sizes=sizes)


def check_c(surrogate: Surrogate, n_calls: int = N_CALLS, *, sizes: Sizes = None) -> list[Check]:
    """Compile for C and call the shared library; parameters as for ONNX."""
    from sciml_couplings.c_export import to_c
    from sciml_couplings.c_library import CLibrary

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "surrogate"
        to_c(surrogate, path, sizes=sizes)
        library = CLibrary(path)
        try:
            return check_coupling(surrogate, library, n_calls=n_calls, sizes=sizes)
        finally:
            library.close()


def _dataset(spec: Spec, arrays: Arrays) -> xr.Dataset:
    return xr.Dataset({field.name: (field.dims, arrays[field.name], {"units": field.unit}) for field in spec.inputs})


def _arrays(data: xr.Dataset) -> Arrays:
    return {str(name): array.values for name, array in data.data_vars.items()}
