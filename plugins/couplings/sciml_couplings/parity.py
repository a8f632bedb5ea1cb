"""The same surrogate asked through every coupling, and how far each is from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from sciml import Surrogate
from sciml_couplings.bench_c import example_error
from sciml_couplings.harvest import draw

N_SAMPLE = 24
NEEDS = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "umbridge": ("umbridge", "aiohttp"),
    "fmu": ("pythonfmu", "fmpy"),
    "fmu3": ("pythonfmu3", "fmpy"),
}


def example_errors(surrogate: Surrogate, folder: Path) -> dict[str, float]:
    """Return for C, C++ and Fortran the largest relative difference of the example program after its time loop.

    Parameters
    ----------
    surrogate, folder : of the harvest rule, and where it was exported.
    """
    with tempfile.TemporaryDirectory(prefix="couplings-") as workplace:
        programs = {"c": "harvest.c", "cpp": "harvest.cpp", "fortran": "harvest.f90"}
        return {key: example_error(surrogate, folder, name, Path(workplace)) for key, name in programs.items()}


def other_errors(surrogate: Surrogate, folder: Path, seed: int) -> tuple[dict[str, float], dict[str, str]]:
    """Return the differences of ONNX, UM-Bridge and mock-up units, and a sentence for each that cannot be tried.

    A difference is the largest of all samples and outputs, relative to the largest output.

    Parameters
    ----------
    surrogate : of the harvest rule.
    folder : where to leave what is exported.
    seed : of the samples.
    """
    calls: dict[str, Callable[[Surrogate, Path, dict[str, np.ndarray]], float]] = {
        "onnx": _onnx,
        "umbridge": _umbridge,
        "fmu": _fmu,
        "fmu3": _fmu3,
    }
    data = draw(N_SAMPLE, np.random.default_rng([seed, 2]))
    found, untried = {}, {}
    for name, call in calls.items():
        absent = [module for module in NEEDS[name] if find_spec(module) is None]
        if absent:
            untried[name] = f"needs {', '.join(absent)}: pip install {' '.join(absent)}"
        else:
            found[name] = call(surrogate, folder, data)
    return found, untried


def _fractions(surrogate: Surrogate, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the fractions of Python sample by sample, as most callers ask: a batch is rounded in another order."""
    tensors = {name: torch.as_tensor(array).float() for name, array in data.items()}
    pairs = zip(tensors["stock"], tensors["year"], strict=True)
    with torch.inference_mode():
        one_by_one = [surrogate(stock=s[None], year=y[None])["fraction"] for s, y in pairs]
    found: np.ndarray = torch.cat(one_by_one).double().numpy()
    return found


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _onnx(surrogate: Surrogate, folder: Path, data: dict[str, np.ndarray]) -> float:
    from sciml_couplings.onnx_export import OnnxOperator, export_onnx

    path = folder / "harvest.onnx"
    if not path.exists():
        export_onnx(surrogate, path)
    fields = {f.name: (f.dims, data[f.name], {"units": f.unit}) for f in surrogate.spec.inputs}
    return _difference(OnnxOperator(path)(xr.Dataset(fields))["fraction"].values, _fractions(surrogate, data))


def _umbridge(surrogate: Surrogate, folder: Path, data: dict[str, np.ndarray]) -> float:
    import umbridge

    from sciml_couplings.umbridge_model import SurrogateModel
    from sciml_couplings.umbridge_server import serving

    with serving({"forward": SurrogateModel(surrogate)}) as url:
        model = umbridge.HTTPModel(url, "forward")
        pairs = zip(data["stock"], data["year"], strict=True)
        found = [model([stock.tolist(), [float(year)]])[0] for stock, year in pairs]
    return _difference(np.array(found), _fractions(surrogate, data))


def _fmu(surrogate: Surrogate, folder: Path, data: dict[str, np.ndarray]) -> float:
    from sciml_couplings.fmu import export_fmu
    from sciml_couplings.simulate_unit import simulate

    path = folder / "harvest.fmu"
    if not path.exists():
        export_fmu(surrogate, path)
    n_species, n_fishery = data["stock"].shape[1], 2
    columns = {f"stock[{i + 1}]": data["stock"][:, i] for i in range(n_species)}
    seen = simulate(path, {**columns, "year": data["year"]})
    stock = np.stack([seen[name] for name in columns], 1)
    found = np.stack([seen[f"fraction[{i + 1}]"] for i in range(n_fishery)], 1)
    return _difference(found, _fractions(surrogate, {"stock": stock, "year": seen["year"]}))


def _fmu3(surrogate: Surrogate, folder: Path, data: dict[str, np.ndarray]) -> float:
    from sciml_couplings.fmu import export_fmu3
    from sciml_couplings.simulate_unit import simulate

    path = folder / "harvest_fmi3.fmu"
    if not path.exists():
        export_fmu3(surrogate, path)
    seen = simulate(path, {"stock": data["stock"]}, {"year": float(data["year"][0])})
    return _difference(seen["fraction"], _fractions(surrogate, {"stock": seen["stock"], "year": seen["year"]}))
