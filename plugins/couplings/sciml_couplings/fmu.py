"""FMI 2 co-simulation units for system simulators, written by pythonfmu."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from sciml import Surrogate
from sciml_couplings.sample import Sample

SCRIPT = '''"""Loads the surrogate beside this file; needs this Python with sciml-toolkit where the unit runs."""

from sciml_couplings.fmu_slave import SurrogateSlave


class {name}(SurrogateSlave):
    sizes = {sizes!r}
'''


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
    try:
        from pythonfmu import FmuBuilder
    except ImportError as error:
        raise ImportError("fmu: expected pythonfmu, got none; pip install 'sciml-toolkit[fmi]'") from error
    path = Path(path)
    if path.suffix != ".fmu":
        raise ValueError(f"fmu: expected a path that ends in .fmu, got {path}; rename it")
    Sample(surrogate, sizes)  # refuses wrong sizes before anything is written
    wanted = dict(sizes or {})
    name = "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", surrogate.network.registered))
    module = f"surrogate_{uuid.uuid4().hex}"  # units that one simulator loads share the names of their modules
    searched = list(sys.path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fmu-") as place:
        folder = Path(place)
        surrogate.save(folder / "surrogate")
        (folder / f"{module}.py").write_text(SCRIPT.format(name=name, sizes=wanted), encoding="utf-8")
        sys.path.insert(0, place)
        importlib.invalidate_caches()
        try:
            FmuBuilder.build_FMU(folder / f"{module}.py", folder / path.name, project_files={folder / "surrogate"})
        finally:
            sys.path[:] = searched
            sys.modules.pop(module, None)
        (folder / path.name).rename(path)
