"""Conformance of experiments: presets that explain themselves, and the folder that a quick run leaves."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sciml.artifact import read_json
from sciml.config import configure, describe
from sciml.experiment import Experiment, run
from sciml.surrogate import load
from sciml.testing.checks import Check, require, require_refusal, verify
from sciml.testing.surrogates import check_surrogate

ENVIRONMENT = ("sciml", "torch", "commit", "device", "seed", "wall_s", "cpu_s", "peak_memory_mb")


def check_experiment(
    experiment: Experiment | str, *, run_quick: bool = False, out: str | Path | None = None
) -> list[Check]:
    """Check the presets and, where asked, the folder of a quick run.

    Parameters
    ----------
    experiment : a registered name, or an instance (which cannot be run here: a run starts from a name).
    run_quick : run the preset "quick" and check what it leaves.
    out : folder of that run, new or empty; a temporary one where omitted.
    """
    subject = _resolve(experiment) if isinstance(experiment, str) else experiment
    checks = verify(
        {
            "the presets 'default' and 'quick' exist": lambda: _presets_exist(subject),
            "presets are frozen dataclasses of one kind": lambda: _presets_are_frozen(subject),
            "every setting has a help text": lambda: _settings_have_help(subject),
            "settings given as text come back as they were": lambda: _configure_round_trip(subject),
            "an unknown setting is refused": lambda: _unknown_is_refused(subject),
        }
    )
    if not run_quick:
        return checks
    if not isinstance(experiment, str):
        return [*checks, Check("a quick run ends", False, "expected a registered name to run, got an instance")]
    with tempfile.TemporaryDirectory() as folder:
        return checks + _check_quick_run(experiment, Path(out) if out is not None else Path(folder) / "run")


def _resolve(name: str) -> Experiment:
    from sciml.plugins import plugins

    experiment: Experiment = plugins().resolve("experiments", name)()
    return experiment


def _presets_exist(experiment: Experiment) -> None:
    absent = {"default", "quick"} - set(experiment.presets)
    require(not absent, f"expected the presets {sorted(absent)} too, got {sorted(experiment.presets)}")


def _presets_are_frozen(experiment: Experiment) -> None:
    for name, config in experiment.presets.items():
        for part in _parts(config):
            frozen = dataclasses.is_dataclass(part) and getattr(type(part), "__dataclass_params__").frozen  # noqa: B009
            require(frozen, f"preset {name!r}: expected frozen dataclasses, got {type(part).__name__}")
    kinds = {type(config).__name__ for config in experiment.presets.values()}
    require(len(kinds) == 1, f"expected presets of one kind, got {sorted(kinds)}")


def _parts(config: Any) -> list[Any]:
    if not dataclasses.is_dataclass(config):
        return [config]
    values = (getattr(config, field.name) for field in dataclasses.fields(config))
    return [config, *(part for value in values if dataclasses.is_dataclass(value) for part in _parts(value))]


def _settings_have_help(experiment: Experiment) -> None:
    for preset, config in experiment.presets.items():
        mute = [name for name, _, _, text in describe(config) if not text.strip()]
        require(not mute, f"preset {preset!r}: expected help for every setting, got none for {', '.join(mute)}")


def _configure_round_trip(experiment: Experiment) -> None:
    for preset, config in experiment.presets.items():
        texts = {name: _text(value) for name, value, _, _ in describe(config)}
        again = configure(config, texts)
        changed = [a[0] for a, b in zip(describe(config), describe(again), strict=True) if a != b]
        require(again == config, f"preset {preset!r}: expected equal settings, got other {', '.join(changed)}")


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _unknown_is_refused(experiment: Experiment) -> str:
    return require_refusal(lambda: configure(experiment.presets["quick"], {"no_such_setting": 1}), "no_such_setting")


def _check_quick_run(name: str, folder: Path) -> list[Check]:
    checks = verify({"a quick run ends": lambda: f"{len(run(name, preset='quick', out=folder).metrics)} metrics"})
    if not checks[0].passed:
        return checks
    checks += verify(
        {
            "config.json holds every setting": lambda: _config_is_whole(folder, name),
            "metrics.json is flat and holds numbers": lambda: _metrics_are_numbers(folder),
            "report.html opens offline": lambda: _report_is_self_contained(folder),
            "plots are PNG files": lambda: _plots_are_png(folder),
            "environment.json says how it was made": lambda: _environment_is_whole(folder),
        }
    )
    if not (folder / "surrogate").exists():
        return checks
    checks += verify({"the surrogate loads": lambda: f"{load(folder / 'surrogate').n_bytes} bytes"})
    return checks + (check_surrogate(load(folder / "surrogate")) if checks[-1].passed else [])


def _config_is_whole(folder: Path, name: str) -> None:
    stored = read_json(folder / "config.json")
    require(stored["experiment"] == name, f"expected experiment {name!r}, got {stored['experiment']!r}")
    absent = {"preset", "seed", "device", "config"} - set(stored)
    require(not absent, f"expected the keys {sorted(absent)} too, got {sorted(stored)}")


def _metrics_are_numbers(folder: Path) -> None:
    metrics = read_json(folder / "metrics.json")
    require(isinstance(metrics, dict) and metrics, "expected metrics by name, got none")
    odd = [key for key, value in metrics.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    require(not odd, f"expected finite numbers, got others for {', '.join(odd)}")


class _References(HTMLParser):
    """Collects what a page would fetch: src, srcset, data of tags, href of link; a plain <a href> fetches nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"src", "srcset", "data", "poster"} | (
            {"href", "xlink:href"} if tag in ("link", "image", "use") else set()
        )
        self.found += [value for key, value in attrs if key in names and value and not value.startswith(("data:", "#"))]


def _report_is_self_contained(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    references = _References()
    references.feed(text)
    found = references.found + re.findall(r"(?:url\(|@import)\s*['\"]?(?!data:|#)([^'\")\s]+)", text)
    require(not found, f"expected everything inside the file, got references to {', '.join(found[:3])}")


def _plots_are_png(folder: Path) -> str:
    paths = sorted((folder / "plots").glob("*")) if (folder / "plots").exists() else []
    require(paths, "expected at least one plot in plots/, got none")
    odd = [path.name for path in paths if not path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")]
    require(not odd, f"expected PNG files, got {', '.join(odd)}")
    return f"{len(paths)} plots"


def _environment_is_whole(folder: Path) -> None:
    absent = set(ENVIRONMENT) - set(read_json(folder / "environment.json"))
    require(not absent, f"expected the keys {sorted(absent)} too, got none")
