"""Generated files kept by the hash of what they were made from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sciml.artifact import atomic_folder, read_json, write_json

CHECKSUMS = "checksums.json"
logger = logging.getLogger(__name__)


def cache_root(folder: str | Path | None = None) -> Path:
    """Return the cache: `folder`, else the environment's SCIML_CACHE, else ~/.cache/sciml."""
    return Path(folder or os.environ.get("SCIML_CACHE") or Path.home() / ".cache" / "sciml").expanduser()


def key_digest(key: Mapping[str, Any]) -> str:
    """Return the SHA-256 of `key` as JSON with sorted names: equal content gives an equal digest in any order."""
    try:
        text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"cache key: expected plain JSON values, got {error}; turn configurations into dicts") from None
    return hashlib.sha256(text.encode()).hexdigest()


def cached(folder: str | Path | None, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Return the folder that ``make(path)`` filled for this `key`, now or earlier.

    Parameters
    ----------
    folder : the cache; None means SCIML_CACHE or ~/.cache/sciml.
    key : everything the content depends on: configuration, seed, version of the generator.
    make : fills the empty folder it is given; if it raises, no entry is left.

    Contract: an entry is whole or absent. Of several processes that ask for one entry, one makes it and the others
    wait. Each reuse verifies the SHA-256 of every file; a damaged entry is made again, with a logged warning.
    """
    root = cache_root(folder)
    root.mkdir(parents=True, exist_ok=True)
    digest = key_digest(key)
    entry = root / digest
    with _locked(root / f".{digest}.lock"):
        damage = _damage(entry) if entry.exists() else "nothing"
        if not damage:
            return entry
        if entry.exists():
            logger.warning("%s: expected the files that were written, got %s; making the entry again", entry, damage)
        with atomic_folder(entry) as temporary:
            make(temporary)
            write_json(temporary / "key.json", key)
            write_json(temporary / CHECKSUMS, _checksums(temporary))
    return entry


def _checksums(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {name: _sha256(path) for path in paths if (name := path.relative_to(folder).as_posix()) != CHECKSUMS}


def _damage(entry: Path) -> str:
    try:
        expected = read_json(entry / CHECKSUMS)
        found = _checksums(entry)
    except (ValueError, OSError) as error:
        return f"an unreadable entry ({error})"
    if not isinstance(expected, dict):
        return f"a broken {CHECKSUMS}"
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return f"a difference in {', '.join(wrong[:3])}" if wrong else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system releases it when a process dies."""
    try:
        import fcntl
    except ImportError:  # no file locks on this platform: two processes may both make the entry, the last one stays
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: waiting for another process that makes this entry", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
