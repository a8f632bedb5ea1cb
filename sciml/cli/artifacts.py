"""Finding the saved surrogate that a path means."""

from __future__ import annotations

from pathlib import Path


def find_artifact(path: str | Path) -> Path | None:
    """Return the folder with a surrogate's manifest: `path` itself, or `path`/surrogate of a run folder; else None."""
    for folder in (Path(path), Path(path) / "surrogate"):
        if (folder / "manifest.json").is_file():
            return folder
    return None


def unregistered_artifact(name: str) -> Path | None:
    """Return what :func:`find_artifact` finds, unless `name` is a registered one: ./NAME then means the folder."""
    from sciml.plugins import plugins

    registered = any(name in entries for entries in plugins().entries.values())
    return None if registered else find_artifact(name)


def require_artifact(path: str | Path) -> Path:
    """Return what :func:`find_artifact` finds, or raise a ValueError."""
    folder = find_artifact(path)
    if folder is None:
        raise ValueError(
            f"{path}: expected the folder of a saved surrogate or of a run that has one, got neither; check the path"
        )
    return folder
