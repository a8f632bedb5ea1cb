"""Folders and files written whole or not at all, and the folder that a surrogate is saved in.

A surrogate's folder holds `manifest.json` (what it is: name, configuration, spec, training domain, provenance) and
`weights.safetensors`. Nothing in it is executed: the manifest names a surrogate that an installed plugin registered.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FORMAT, VERSION = "sciml-surrogate", 1
FILES = {"manifest.json", "weights.safetensors"}
KEYS = {"format", "version", "surrogate", "distribution", "config", "spec", "domain", "provenance", "weights_sha256"}


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it into place when the block ends, remove it when the block fails."""
    path = Path(path)
    temporary = _beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; swap it into place when the block ends, remove it when the block fails."""
    path = Path(path)
    temporary, replaced = _beside(path), _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            os.replace(path, replaced)
        os.replace(temporary, path)
    finally:
        if replaced.exists() and not path.exists():
            os.replace(replaced, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"


def write_json(path: str | Path, data: Any, *, non_finite: Callable[[str], Any] = lambda name: None) -> None:
    """Write `data` as indented JSON, whole or not at all.

    JSON has no NaN and no infinity: they become null, or what `non_finite` makes of their names.
    """
    plain = json.loads(json.dumps(data, default=_plain), parse_constant=non_finite)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n")


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return dict(data)
    return data.tolist() if hasattr(data, "tolist") else str(data)  # NumPy arrays and numbers, tensors


def read_json(path: str | Path) -> Any:
    """Read JSON; a missing or broken file is a ValueError that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected a readable JSON file, got {error}") from None


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors as safetensors, whole or not at all, and return the file's SHA-256."""
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(own, temporary)
        except KeyError as error:
            text = (
                f"{path}: expected tensors of a type that safetensors holds, got {error}; store views as real numbers"
            )
            raise TypeError(text) from None
        return hashlib.sha256(temporary.read_bytes()).hexdigest()


def read_tensors(path: str | Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read safetensors; a missing or truncated file is a ValueError that names it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: expected a complete safetensors file, got {error}; write it again") from None


def write_artifact(path: str | Path, manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write manifest and weights into the folder `path`, replacing an older artifact but nothing else."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or {item.name for item in path.iterdir()} not in (set(), FILES)):
        wanted = "an empty folder or a saved surrogate"
        raise ValueError(f"{path}: expected {wanted}, got something else; choose another path")
    with atomic_folder(path) as folder:
        digest = write_tensors(folder / "weights.safetensors", tensors)
        whole = {"format": FORMAT, "version": VERSION, **manifest, "weights_sha256": digest}
        write_json(folder / "manifest.json", whole)


def read_artifact(path: str | Path, device: str = "cpu") -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read and verify an artifact; what this version does not know is refused."""
    path = Path(path)
    if not (path / "manifest.json").is_file():
        raise ValueError(f"{path}: expected a folder with manifest.json, got none; give a surrogate saved by save()")
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path}/manifest.json: expected format {FORMAT!r}, got something else")
    if (version := manifest.get("version")) != VERSION:
        raise ValueError(f"{path}: expected artifact version {VERSION}, got {version}; update sciml-toolkit")
    if other := sorted(set(manifest) ^ KEYS):
        raise ValueError(f"{path}/manifest.json: expected keys {sorted(KEYS)}, got a difference of {other}")
    weights = path / "weights.safetensors"
    tensors = read_tensors(weights, device)
    if hashlib.sha256(weights.read_bytes()).hexdigest() != manifest["weights_sha256"]:
        wanted = "the weights that the manifest was written with"
        raise ValueError(f"{weights}: expected {wanted}, got others; copy the folder again")
    return manifest, tensors
