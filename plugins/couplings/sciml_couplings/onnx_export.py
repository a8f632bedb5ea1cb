"""ONNX models with the surrogate's manifest inside, and their way back as operators that check what they are given."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from sciml import Operator, Spec, Surrogate
from sciml.fields import region_from_json
from sciml.surrogate import Outside
from sciml_couplings.aot import Traced, differences, trace

MANIFEST = "sciml_manifest"
LARGE = 2**28
"""Bytes of weights from which on they lie in a file of their own; an ONNX file holds less than 2 GiB."""
TOLERANCE = 1e-5  # of the largest number of an output, between ONNX Runtime and the network


def export_onnx(
    surrogate: Surrogate, path: str | Path, *, sizes: Mapping[str, int] | None = None, large: int = LARGE
) -> None:
    """Write the surrogate as the ONNX model `path`; from `large` bytes on the weights are beside it, in `path`.data.

    Every operation of the toolkit's kernels is replaced by the plain ones it is defined by. The metadata entry
    ``sciml_manifest`` holds registered name, spec and training domain as JSON.

    Parameters
    ----------
    surrogate : on the CPU.
    path : a new file, its folder existing.
    sizes : of the dimensions that the network leaves open and a trace has to fix.
    large : bytes of weights from which on they are external data.

    Raises
    ------
    ValueError
        The network cannot be exported, with its own sentence where it has one, or ONNX Runtime gives other numbers.

    *Contract*: ONNX Runtime gives the network's numbers within 1e-5 of the largest; dimensions that the network leaves
    free, the batch among them, are free in the model.
    """
    network, path = surrogate.network, Path(path)
    if network.not_exportable:
        reason = f"{network.not_exportable.rstrip('.')}; call it from Python, UM-Bridge or --to cffi"
        raise ValueError(f"onnx: expected a network that can be exported, got {network.registered!r}: {reason}")
    traced = trace(surrogate, sizes=sizes)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".onnx-") as folder:
        draft = Path(folder) / path.name
        _write(surrogate, traced, draft, surrogate.n_bytes >= large)
        _verify(surrogate, traced, draft)
        for part in sorted(Path(folder).iterdir(), reverse=True):  # the model last: where it is, all of it is
            part.rename(path.parent / part.name)


def _repeat_interleave(
    values: torch.Tensor, repeats: torch.Tensor, dim: int | None = None, *, output_size: int | None = None
) -> torch.Tensor:
    """Repeat rows in operations that the exporter knows; its own translation takes no output size."""
    values, axis = (values.flatten(), 0) if dim is None else (values, dim)
    ends = repeats.expand(values.shape[axis]).cumsum(0)
    n: Any = ends[-1].item() if output_size is None else output_size  # a symbol while it is traced
    marks = torch.zeros((n + 1,), dtype=torch.int64).scatter_add(0, ends, torch.ones_like(ends))
    return values.index_select(axis, marks.cumsum(0)[:n])


def _write(surrogate: Surrogate, traced: Traced, path: Path, external: bool) -> None:
    spec = surrogate.spec
    names = [field.name for field in spec.inputs], [field.name for field in spec.outputs]
    plain = traced.program.run_decompositions({torch.ops.aten.repeat_interleave.self_Tensor: _repeat_interleave})
    options: dict[str, Any] = {"dynamo": True, "input_names": names[0], "output_names": names[1], "verbose": False}
    try:
        with warnings.catch_warnings(record=True):  # of the exporter about itself
            # ONNX Runtime optimizes what it loads; the exporter's own optimizer stumbles over splits.
            program: Any = torch.onnx.export(plain, **options, optimize=False)
    except Exception as error:  # the exporter's own kinds are private
        found = re.search(r"OpOverload\(op='([^']+)'", str(error))
        got = found[1] if found else type(error).__name__
        name = f"{surrogate.network.registered!r}"
        raise ValueError(f"onnx: expected operations that ONNX has, got {got} in {name}; use --to c") from error
    manifest = {
        "surrogate": surrogate.network.registered,
        "spec": spec.to_json(),
        "domain": {name: asdict(region) for name, region in surrogate.domain.items()},
    }
    program.model.metadata_props[MANIFEST] = json.dumps(manifest)
    program.save(path, external_data=external)


def _verify(surrogate: Surrogate, traced: Traced, path: Path) -> None:
    session, names = open_session(path), [field.name for field in surrogate.spec.outputs]

    def call(given: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
        found = _run(session, {name: tensor.numpy() for name, tensor in given.items()})
        return [found[name] for name in names]

    for name, (gap, scale) in differences(surrogate, traced.sizes, call).items():
        if not gap <= TOLERANCE * scale:
            got = f"a difference of {gap:.1e} beside {scale:.1e}"
            raise ValueError(f"onnx: expected {name!r} within {TOLERANCE:g} of the network, got {got}; report it")


def open_session(path: Path) -> Any:
    """Return a session of ONNX Runtime that computes on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # batches of several callers are the parallel work
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    wanted = {given.name for given in session.get_inputs()}  # an input that no output depends on is none of the model's
    found = session.run(names, {name: array for name, array in arrays.items() if name in wanted})
    return dict(zip(names, found, strict=True))


class OnnxOperator(Operator):
    """An ONNX model written by :func:`export_onnx`, with the surrogate's checks of shapes, units and domain.

    Parameters
    ----------
    path : the model.
    outside : what to do with inputs outside the training domain: raise, warn or allow.

    Raises
    ------
    ValueError
        There is no such model, it is damaged, or has no manifest.

    *Contract*: as of every operator; asked from several threads at once it answers each as it would alone.
    """

    def __init__(self, path: str | Path, *, outside: Outside = "raise") -> None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise ImportError("onnx: expected onnxruntime, got none; pip install 'sciml-toolkit[onnx]'") from error
        try:
            self._session = open_session(Path(path))
        except Exception as error:  # onnxruntime has an exception of its own for each kind of damage
            raise ValueError(f"{path}: expected an ONNX model, got {error}; export it again") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(MANIFEST)
        if text is None:
            raise ValueError(
                f"{path}: expected the metadata {MANIFEST!r}, got none; write it by sciml export --to onnx"
            )
        manifest = json.loads(text)
        self.outside = outside
        self._spec = Spec.from_json(manifest["spec"])
        self.domain = {name: region_from_json(region) for name, region in manifest["domain"].items()}

    @property
    def spec(self) -> Spec:
        """Names, dimensions, units and bounds from the manifest."""
        return self._spec

    def _apply(self, inputs: xr.Dataset) -> xr.Dataset:
        kind = "the training domain "
        found = {f.name: f.complaint(inputs[f.name].values, self.domain.get(f.name), kind) for f in self.spec.inputs}
        complaint = "; ".join(f"input {name!r}: {text}" for name, text in found.items() if text)
        if complaint and self.outside == "raise":
            raise ValueError(f"{complaint}; retrain on a wider domain or open it with outside='allow'")
        if complaint and self.outside == "warn":
            warnings.warn(complaint, stacklevel=3)
        kinds = {given.name: given.type for given in self._session.get_inputs()}
        types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
        arrays = {name: inputs[name].values.astype(types[kind]) for name, kind in kinds.items()}
        try:
            outputs = _run(self._session, arrays)
        except Exception as error:  # as above
            raise ValueError(f"onnx: expected sizes that the model takes, got {error}; see its inputs") from error
        variables = {f.name: (f.dims, outputs[f.name], {"units": f.unit}) for f in self.spec.outputs}
        dims = {dim for field in self.spec.outputs for dim in field.dims}
        coords: dict[Any, Any] = {name: coord for name, coord in inputs.coords.items() if set(coord.dims) <= dims}
        for name, (unit, values) in self.spec.coords.items():
            coords[name] = (name, np.array(values), {"units": unit})
        return xr.Dataset(variables, coords)
