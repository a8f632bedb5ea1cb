"""Experiments: from configuration to a folder with metrics, report and surrogate; one function runs them all."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sciml.artifact import read_json, write_json
from sciml.config import configure
from sciml.plugins import plugins
from sciml.progress import Progress
from sciml.report import Report
from sciml.surrogate import Surrogate


@dataclass(frozen=True)
class Results:
    """What an experiment returns: flat `metrics`, the `report`, the `surrogate` it recommends, if any.

    `folder` is filled in when the results are written.
    """

    metrics: Mapping[str, float]
    report: Report
    surrogate: Surrogate | None = None
    folder: Path | None = None


@dataclass
class Run:
    """The place and the means of one run: folder, seed, device, progress, checkpoints, log, records for the end.

    `checkpoint(name)` is a path that survives a killed run and is found again by the resumed one; a stage that stores
    its result there and reads it back when present makes the resumed run equal to an uninterrupted one.
    """

    folder: Path
    seed: int
    device: str
    progress: Progress
    records: dict[str, Any] = field(default_factory=dict)

    def checkpoint(self, name: str) -> Path:
        """Return the path of a stage's checkpoint inside the run folder."""
        path = self.folder / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, message: str) -> None:
        """Append a line with the time to log.txt."""
        with (self.folder / "log.txt").open("a") as stream:
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {message}\n")

    def record(self, **values: Any) -> None:
        """Keep values, such as a data hash, for environment.json."""
        self.records.update(values)


class Experiment(ABC):
    """What a plugin writes for `sciml run NAME`: `presets`, `run` and `bench`."""

    @property
    @abstractmethod
    def presets(self) -> Mapping[str, Any]:
        """Frozen dataclasses by name; "default" and "quick" at least."""

    @abstractmethod
    def run(self, config: Any, run: Run) -> Results:
        """Make or read data, train, compare, report."""

    @abstractmethod
    def bench(self, config: Any, run: Run) -> Results:
        """Measure this project and its peers side by side; the metrics hold the keys of `run` and of the peers."""


def run(name: str, *, preset: str = "default", out: str | Path | None = None, seed: int = 7, device: str = "auto",
        progress: Progress | None = None, bench: bool = False, overrides: Mapping[str, Any] | None = None,
        **settings: Any) -> Results:  # fmt: skip
    """Run the experiment `name`; the same as `sciml run NAME`.

    Parameters
    ----------
    name : a registered experiment.
    preset : one of its presets.
    out : the run folder, new or empty; by default ``runs/NAME-PRESET-TIME``.
    seed : of everything random.
    device : "auto", "cpu" or "cuda".
    progress : where it is shown; by default nowhere.
    bench : measure the peers too, as `sciml bench NAME`.
    overrides, settings : settings by name; dotted ones as ``overrides={"a.b": value}``.
    """
    mode, device = "bench" if bench else "run", resolve_device(device)
    experiment = plugins().resolve("experiments", name)()
    config = configure(preset_of(experiment, name, preset), {**(overrides or {}), **settings})
    start = {"experiment": name, "mode": mode, "preset": preset, "seed": seed, "device": device}
    folder = Path(out) if out is not None else Path("runs") / f"{name}-{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    with _new_folder(folder):
        write_json(folder / "config.json", {**start, "config": asdict(config)}, non_finite=str)
        results, place = _execute(folder, progress)
    return _write_results(results, place)


def resume(folder: str | Path, *, progress: Progress | None = None) -> Results:
    """Continue a killed run from its folder to the result that an uninterrupted run gives."""
    if (Path(folder) / "metrics.json").exists():
        raise ValueError(f"{folder}: expected an unfinished run, got a finished one; start a new one with --out")
    return _write_results(*_execute(Path(folder), progress))


def preset_of(experiment: Experiment, name: str, preset: str) -> Any:
    """Return a preset's configuration; an unknown name is a ValueError with the known ones."""
    if preset not in experiment.presets:
        raise ValueError(f"preset {preset!r} of {name!r}: expected one of {', '.join(experiment.presets)}")
    return experiment.presets[preset]


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda"; a missing GPU is a ValueError."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a CUDA device, got none; use --device auto or cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run; where the run fails with nothing worth resuming, remove what it made."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            got = "got one in use; choose another --out or --resume it"
            raise ValueError(f"{folder}: expected a new or empty folder, {got}")
        (folder / "log.txt").touch()
    except OSError as error:
        raise ValueError(f"{folder}: expected a writable folder, got {error.strerror}; choose another --out") from None
    try:
        yield
    except Exception:
        if not any((folder / "checkpoints").glob("*")):
            for path in [folder] if made else list(folder.iterdir()):
                remove = shutil.rmtree if path.is_dir() else os.unlink
                with suppress(OSError):  # what failed first is what the user must read
                    remove(path)
        raise


def _execute(folder: Path, progress: Progress | None) -> tuple[Results, Run]:
    """Run what config.json says, new or resumed: both take the same way."""
    match read_json(folder / "config.json"):
        case {"experiment": str(name), "mode": "run" | "bench" as mode, "preset": str(preset), "seed": int(seed),
              "device": str(device), "config": dict(settings)}:  # fmt: skip
            run = Run(folder, seed, resolve_device(device), progress or Progress(enabled=False))
        case _:
            raise ValueError(f"{folder}/config.json: expected a run folder's configuration, got something else")
    experiment = plugins().resolve("experiments", name)()
    config = configure(preset_of(experiment, name, preset), settings)
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        run.log(f"{mode} {name} {preset} seed {seed} on {device}")
        results: Results = getattr(experiment, mode)(config, run)
    except Exception as error:
        with suppress(OSError):  # a full disk may be what failed
            run.log(f"failed: {type(error).__name__}: {error}")
        raise
    run.record(experiment=name, mode=mode, preset=preset, seed=seed, device=device)
    run.record(wall_s=time.perf_counter() - began, cpu_s=time.process_time() - cpu_began)
    return results, run


def _write_results(results: Results, run: Run) -> Results:
    environment = {**describe_environment(), **run.records}
    seconds = {name: f"{environment[key]:.0f} s" for name, key in (("wall time", "wall_s"), ("CPU time", "cpu_s"))}
    footer = {key: str(environment[key]) for key in ("experiment", "preset", "seed", "device", "sciml", "torch")}
    if results.surrogate is not None:
        results.surrogate.save(run.folder / "surrogate")
    results.report.write(
        run.folder, footer={**footer, "commit": str(environment["commit"] or "unknown")[:12], **seconds}
    )
    write_json(run.folder / "environment.json", environment)
    write_json(run.folder / "metrics.json", results.metrics)
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    run.log(f"done in {seconds['wall time']}")
    return replace(results, folder=run.folder)


def describe_environment() -> dict[str, Any]:
    """Return versions, commit, machine and peak memory of this process."""
    return {
        "sciml": importlib.metadata.version("sciml-toolkit"),
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "xarray")},
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _commit() -> str | None:
    root = Path(__file__).parent.parent
    if (root / ".git").exists():  # else it is installed: a repository further up would be somebody else's
        with suppress(OSError, subprocess.CalledProcessError):
            command = ["git", "-C", str(root), "rev-parse", "HEAD"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None


def content_hash(*arrays: Any) -> str:
    """Return the SHA-256 of the bytes of NumPy arrays, for the record of which data were used."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
