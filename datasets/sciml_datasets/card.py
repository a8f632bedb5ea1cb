"""A data set is a folder: a `README.md` card with machine-readable front matter, and one data file per split."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr

from sciml.artifact import atomic_file
from sciml.fields import FieldSpec, region_from_json
from sciml_datasets.formats import FORMATS, find_format
from sciml_datasets.store import blocks
from sciml_datasets.watch import watched

if TYPE_CHECKING:
    from sciml.progress import Progress

SECTIONS = ("Equations",)
FENCE = "+++"
KEYS = {"name", "title", "license", "source", "generator", "cost", "batch_dim", "fields", "splits", "grid"}


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from: license, source (paper or owner), generator with version, cost of making them."""

    license: str
    source: str
    generator: str
    cost: str


@dataclass(frozen=True)
class Sampling:
    """Samples along `batch_dim`, their number in each split, and the grid in words or numbers."""

    batch_dim: str
    splits: Mapping[str, int]
    grid: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetCard:
    """What a data set holds, for people and for checks.

    Parameters
    ----------
    name, title : as registered, and as a sentence.
    fields : every numeric variable of the files with dims, unit and description.
    body : Markdown with the sections of `SECTIONS`: the equations that were solved, and what users should know.
    """

    name: str
    title: str
    provenance: Provenance
    sampling: Sampling
    fields: tuple[FieldSpec, ...]
    body: str


class DatasetSource(Protocol):
    """What the target of a `sciml_datasets` registration is (or gives, when called without arguments)."""

    @property
    def card(self) -> DatasetCard:
        """The card of what `make` writes."""

    def make(self, folder: Path, *, seed: int, progress: Progress | None = None) -> None:
        """Write the data files into the empty `folder`; equal seeds give equal data."""


def write_card(folder: str | Path, card: DatasetCard) -> None:
    """Write `card` as `folder`/README.md, whole or not at all."""
    provenance, sampling = card.provenance, card.sampling
    lines = [FENCE]
    texts = {"name": card.name, "title": card.title, **vars(provenance), "batch_dim": sampling.batch_dim}
    lines += [f"{key} = {_toml(value)}" for key, value in texts.items()]
    for spec in card.fields:
        lines += [
            "",
            "[[fields]]",
            f"name = {_toml(spec.name)}",
            f"dims = {_toml(spec.dims)}",
            f"unit = {_toml(spec.unit)}",
        ]
        if spec.bounds is not None:
            lines.append(f"bounds = {_toml(spec.bounds.boxes)}")
        lines.append(f"description = {_toml(spec.description)}")
    for table, values in (("splits", sampling.splits), ("grid", sampling.grid)):
        lines += ["", f"[{table}]", *(f"{_toml_key(key)} = {_toml(value)}" for key, value in values.items())]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "README.md") as path:
        path.write_text("\n".join([*lines, FENCE, "", card.body.strip(), ""]), encoding="utf-8")


def read_card(folder: str | Path) -> DatasetCard:
    """Read `folder`/README.md; a missing or broken card is a ValueError that names it."""
    path = Path(folder) / "README.md"
    try:
        parts = re.split(r"^\+\+\+\s*$", path.read_text(encoding="utf-8"), maxsplit=2, flags=re.MULTILINE)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a data set card, got {error}; write one with write_card") from None
    if len(parts) != 3 or parts[0].strip():
        raise ValueError(
            f"{path}: expected TOML between two lines {FENCE} at the top, got none; write it with write_card"
        )
    try:
        data = tomllib.loads(parts[1])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: expected TOML between the lines {FENCE}, got {error}; correct it") from None
    if set(data) != KEYS:
        missing, unknown = sorted(KEYS - set(data)), sorted(set(data) - KEYS)
        raise ValueError(
            f"{path}: expected the keys {sorted(KEYS)}, got missing {missing} and unknown {unknown}; correct it"
        )
    try:
        specs = tuple(_field(item) for item in data["fields"])
        provenance = Provenance(*(str(data[key]) for key in ("license", "source", "generator", "cost")))
        splits = {name: int(count) for name, count in data["splits"].items()}
        sampling = Sampling(str(data["batch_dim"]), splits, data["grid"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected fields with name, dims, unit and splits with counts, got {error!r}"
        ) from None
    return DatasetCard(data["name"], data["title"], provenance, sampling, specs, parts[2].strip())


def check_card(folder: str | Path, progress: Progress | None = None) -> list[str]:
    """Compare the card of `folder` with its files, read block by block; return one sentence per problem."""
    folder = Path(folder)
    try:
        card = read_card(folder)
        splits = FORMATS[find_format(folder)].read(folder)
    except ValueError as error:
        return [str(error)]
    where = f"{folder / 'README.md'}"
    problems = [
        f"{where}: expected a section '## {name}', got none; write it"
        for name in SECTIONS
        if not re.search(rf"^#+\s+{name}\b", card.body, flags=re.MULTILINE | re.IGNORECASE)
    ]
    empty = [
        key for key, value in {"name": card.name, "title": card.title, **vars(card.provenance)}.items() if not value
    ]
    problems += [f"{where}: expected a text for {key!r}, got none; fill it in" for key in empty]
    if set(splits) != set(card.sampling.splits):
        problems.append(f"{where}: expected the splits {sorted(card.sampling.splits)}, got files for {sorted(splits)}")
    seen: dict[str, dict[str, str]] = {"simulation": {}, "content": {}}
    with watched(splits, progress, f"check {folder}") as followed:
        for split in sorted(set(splits) & set(card.sampling.splits)):
            problems += _check_split(followed[split], card, split, f"{folder} {split}", seen)
    for dataset in splits.values():
        dataset.close()
    return problems


def _check_split(
    dataset: xr.Dataset, card: DatasetCard, split: str, where: str, seen: dict[str, dict[str, str]]
) -> Iterator[str]:
    batch_dim, count = card.sampling.batch_dim, card.sampling.splits[split]
    size = dataset.sizes.get(batch_dim)
    if size != count:
        yield f"{where}: expected {count} samples along {batch_dim!r}, got {size}; correct the card or the file"
    described = {spec.name for spec in card.fields}
    for name in sorted(str(n) for n, v in dataset.variables.items() if v.dtype.kind in "iuf" and n not in described):
        yield f"{where}: expected only variables of the card, got {name!r}; describe it in the card"
    hashers = [hashlib.sha256() for _ in range(size or 0)]
    for spec in card.fields:
        yield from _check_field(dataset, spec, batch_dim, hashers, f"{where} {spec.name!r}")
    marks = {"content": [hasher.hexdigest() for hasher in hashers]}
    if "simulation" in dataset.coords and dataset["simulation"].dims == (batch_dim,):
        marks["simulation"] = [str(name) for name in dataset["simulation"].values]
    for kind, names in marks.items():
        shared = [name for name in names if seen[kind].get(name, split) != split]
        if shared:
            what = "simulations" if kind == "simulation" else "samples equal to the bit"
            other = seen[kind][shared[0]]
            yield f"{where}: expected splits without overlap, got {len(shared)} {what} of {other!r}; split again"
        seen[kind].update(dict.fromkeys(names, split))


def _check_field(dataset: xr.Dataset, spec: FieldSpec, batch_dim: str, hashers: list[Any], where: str) -> Iterator[str]:
    if spec.name not in dataset.variables:
        yield f"{where}: expected a variable, got none; have {sorted(map(str, dataset.variables))}"
        return
    variable = dataset[spec.name].variable
    if tuple(variable.dims) != tuple(spec.dims):
        yield f"{where}: expected dims {spec.dims}, got {variable.dims}; correct the card or the file"
        return
    unit = variable.attrs.get("units")
    if unit != spec.unit:
        yield f"{where}: expected the unit {spec.unit!r}, got {unit!r}; correct the card or the file"
    axis = spec.dims.index(batch_dim) if batch_dim in spec.dims else None
    n_bad = n_outside = 0
    try:
        for block in blocks(variable, dim=None if axis is None else batch_dim):
            values = np.asarray(variable[block].values)
            finite = np.isfinite(values)
            n_bad += int((~finite).sum())
            if spec.bounds is not None and finite.all():
                n_outside += int(np.sum(spec.outside(values, spec.bounds)))
            if axis is not None:
                for hasher, row in zip(hashers[block[axis]], np.moveaxis(values, axis, 0), strict=True):
                    hasher.update(np.ascontiguousarray(row))
    except (ValueError, OSError) as error:
        yield str(error)
    if n_bad:
        yield f"{where}: expected finite numbers, got NaN or infinity in {n_bad} places; compute them again"
    if n_outside:
        yield f"{where}: expected values inside {spec.bounds} {spec.unit}, got {n_outside} outside; correct them"


def _field(item: Mapping[str, Any]) -> FieldSpec:
    bounds = None if "bounds" not in item else region_from_json({"boxes": item["bounds"]})
    return FieldSpec(item["name"], tuple(item["dims"]), item["unit"], bounds, item.get("description", ""))


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, int | float | np.number):
        return repr(value.item() if isinstance(value, np.number) else value)
    raise TypeError(f"card: expected texts, numbers and lists, got {type(value).__name__}; simplify the grid table")
