"""Co-simulation units for system simulators: FMI 2, written by pythonfmu, and FMI 3, written by pythonfmu3."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from sciml import Surrogate
from sciml_couplings.sample import Sample

SCRIPT = '''"""Loads the surrogate beside this file; needs this Python with sciml-toolkit where the unit runs."""

{imports}


class {name}({bases}):
    sizes = {sizes!r}
'''
# pythonfmu3 finds the class by the word Fmi3Slave in its line.
SLAVES = {
    "pythonfmu": ("from sciml_couplings.fmu_slave import SurrogateSlave", "SurrogateSlave"),
    "pythonfmu3": (
        "from pythonfmu3 import Fmi3Slave\nfrom sciml_couplings.fmu3_slave import ArraySlave",
        "ArraySlave, Fmi3Slave",
    ),
}


def export_fmu(surrogate: Surrogate, path: str | Path, *, sizes: Mapping[str, int] | None = None) -> None:
    """Write the surrogate as the functional mock-up unit `path`, of version 2 of the standard, for co-simulation.

    Every number of an input and output is a variable of its own, ``position[1]`` and ``position[2]``, in the units of
    the spec, counted from 1 as system simulators do. The Boolean parameter ``allow_outside`` (false) lets inputs leave
    the training domain, and the Boolean output ``outside_training_domain`` tells that they did; otherwise the step
    fails with the sentence in the simulator's log.

    Parameters
    ----------
    surrogate : of a registered plugin.
    path : a new file NAME.fmu.
    sizes : lengths of the free dimensions.

    *Contract*: the outputs at a time are those that `predict` gives for the inputs at that time.

    *Source*: Functional Mock-up Interface 2.0.4, co-simulation.
    """
    _write(surrogate, Path(path), dict(sizes or {}), "pythonfmu")


def export_fmu3(surrogate: Surrogate, path: str | Path, *, sizes: Mapping[str, int] | None = None) -> None:
    """Write the surrogate as the functional mock-up unit `path`, of version 3 of the standard, for co-simulation.

    Every input and output is one variable: an array in C order, in the units of the spec, without the dimension of the
    batch; a number where no other dimension is left. ``allow_outside`` and ``outside_training_domain`` as in FMI 2.

    Parameters
    ----------
    surrogate, path, sizes : as for :func:`export_fmu`.

    *Contract*: the outputs at a time are those that `predict` gives for the inputs at that time.

    *Source*: Functional Mock-up Interface 3.0, sections 2.4.7 and 4.
    """
    _write(surrogate, Path(path), dict(sizes or {}), "pythonfmu3")


def _write(surrogate: Surrogate, path: Path, sizes: Mapping[str, int], library: str) -> None:
    builder = _library(library).FmuBuilder
    if path.suffix != ".fmu":
        raise ValueError(f"fmu: expected a path that ends in .fmu, got {path}; rename it")
    Sample(surrogate, sizes)  # refuses wrong sizes before anything is written
    name = "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", surrogate.network.registered))
    module = f"surrogate_{uuid.uuid4().hex}"  # units that one simulator loads share the names of their modules
    imports, bases = SLAVES[library]
    searched = list(sys.path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fmu-") as place:
        folder = Path(place)
        surrogate.save(folder / "surrogate")
        script = folder / f"{module}.py"
        script.write_text(SCRIPT.format(imports=imports, name=name, bases=bases, sizes=sizes), encoding="utf-8")
        sys.path.insert(0, place)
        importlib.invalidate_caches()
        try:
            written = builder.build_FMU(script, folder / "unit", project_files={folder / "surrogate"})
        finally:
            sys.path[:] = searched
            sys.modules.pop(module, None)
        Path(written).rename(path)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"fmu: expected {name}, got none; pip install 'sciml-toolkit[fmi]'") from error
