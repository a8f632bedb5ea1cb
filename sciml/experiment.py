"""Experiments: from configuration to a folder with metrics, report and surrogate; one function runs them all."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sciml.artifact import read_json, write_json
from sciml.config import configure, flatten
from sciml.progress import Progress
from sciml.report import Report
from sciml.surrogate import Surrogate


@dataclass(frozen=True)
class Results:
    """What an experiment returns; `folder` is filled in when it is written."""

    metrics: Mapping[str, float]
    report: Report
    surrogate: Surrogate | None = None
    folder: Path | None = None


@dataclass
class Run:
    """The place and the means of one run: folder, seed, device, progress, checkpoints, log.

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
            stream.write(f"{datetime.datetime.now().isoformat(timespec='seconds')} {message}\n")

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


def run(name: str, *, preset: str = "default", out: str | Path | None = None, **options: Any) -> Results:
    """Run the experiment `name`; the same as `sciml run NAME`.

    Parameters
    ----------
    name : a registered experiment.
    preset : one of its presets.
    out : the run folder, new or empty; by default ``runs/NAME-PRESET-TIME``.
    options : ``seed``, ``device``, ``progress``, ``bench`` and settings by name; dotted ones as
        ``overrides={"a.b": value}``.
    """
    means = {key: options.pop(key) for key in ("seed", "device", "progress", "bench") if key in options}
    overrides = {**options.pop("overrides", {}), **options}
    experiment = _experiment(name)
    config = configure(preset_of(experiment, name, preset), overrides)
    mode = "bench" if means.get("bench") else "run"
    folder = Path(out) if out is not None else Path("runs") / f"{name}-{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    device = resolve_device(means.get("device", "auto"))
    _make_folder(folder)
    settings = {"experiment": name, "mode": mode, "preset": preset, "seed": means.get("seed", 7), "device": device}
    write_json(folder / "config.json", {**settings, "config": dataclasses.asdict(config)})
    return _execute(experiment, config, settings, folder, means.get("progress"))


def resume(folder: str | Path, *, progress: Progress | None = None) -> Results:
    """Continue a killed run from its folder to the result that an uninterrupted run gives."""
    folder = Path(folder)
    stored = read_json(folder / "config.json")
    try:
        settings = {key: stored[key] for key in ("experiment", "mode", "preset", "seed", "device")}
        config = stored["config"]
        known = settings["mode"] in ("run", "bench") and isinstance(config, dict) and isinstance(settings["seed"], int)
    except (KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(f"{folder}/config.json: expected a run folder's configuration, got something else")
    if (folder / "metrics.json").exists():
        raise ValueError(f"{folder}: expected an unfinished run, got a finished one; start a new one with --out")
    resolve_device(settings["device"])
    experiment = _experiment(settings["experiment"])
    base = preset_of(experiment, settings["experiment"], settings["preset"])
    config = configure(base, dict(flatten(config)))
    return _execute(experiment, config, settings, folder, progress)


def preset_of(experiment: Experiment, name: str, preset: str) -> Any:
    """Return a preset's configuration; an unknown name is a ValueError with the known ones."""
    if preset not in experiment.presets:
        raise ValueError(f"preset {preset!r} of {name!r}: expected one of {', '.join(experiment.presets)}")
    return experiment.presets[preset]


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda"; a missing GPU is a ValueError."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a CUDA device, got none; use --device auto or cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _experiment(name: str) -> Experiment:
    from sciml.plugins import plugins

    experiment: Experiment = plugins().resolve("experiments", name)()
    return experiment


def _make_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: expected a new or empty folder, got one in use; choose another --out or --resume it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").touch()
    except OSError as error:
        raise ValueError(f"{folder}: expected a writable folder, got {error.strerror}; choose another --out") from None


def _execute(
    experiment: Experiment, config: Any, settings: dict[str, Any], folder: Path, progress: Progress | None
) -> Results:
    started, cpu_started = time.perf_counter(), time.process_time()
    means = Run(folder, settings["seed"], settings["device"], progress or Progress(enabled=False))
    means.log(
        f"{settings['mode']} {settings['experiment']} {settings['preset']} "
        f"seed {settings['seed']} on {settings['device']}"
    )
    try:
        results: Results = getattr(experiment, settings["mode"])(config, means)
    except Exception as error:
        means.log(f"failed: {type(error).__name__}: {error}")
        checkpoints = folder / "checkpoints"
        if not checkpoints.exists() or not any(checkpoints.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)  # nothing worth resuming: leave nothing half-written
        raise
    seconds = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_started}
    environment = {**describe_environment(), **settings, **means.records, **seconds}
    _write_results(results, folder, environment)
    means.log(f"done in {seconds['wall_s']:.0f} s")
    return dataclasses.replace(results, folder=folder)


def _write_results(results: Results, folder: Path, environment: Mapping[str, Any]) -> None:
    if results.surrogate is not None:
        results.surrogate.save(folder / "surrogate")
    shown = ("experiment", "preset", "seed", "device", "sciml", "torch", "commit", "wall_s", "cpu_s")
    results.report.write(folder, footer={key: _short(environment[key]) for key in shown})
    write_json(folder / "environment.json", environment)
    write_json(folder / "metrics.json", results.metrics)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _short(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)[:12]


def describe_environment() -> dict[str, Any]:
    """Return versions, commit, machine and peak memory of this process."""
    import torch

    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "xarray")}
    return {
        "sciml": importlib.metadata.version("sciml-toolkit"),
        "commit": _commit(),
        "python": sys.version.split()[0],
        **versions,
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _commit() -> str | None:
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():  # installed: a repository further up would be somebody else's
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def content_hash(*arrays: Any) -> str:
    """Return the SHA-256 of the bytes of NumPy arrays, for the record of which data were used."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()
