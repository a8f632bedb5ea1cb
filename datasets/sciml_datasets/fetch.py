"""Files from the network: resumed where they were cut off, checked by their SHA-256, in place whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sciml.artifact import atomic_file
from sciml_datasets.formats._h5compact import refuse

if TYPE_CHECKING:
    from sciml.progress import Progress

CHUNK_BYTES = 2**20
TIMEOUT_S = 60.0  # without a byte
SUMS = "SHA256SUMS"


def fetch(url: str, path: str | Path, *, sha256: str | None = None, progress: Progress | None = None) -> str:
    """Download `url` to `path` and return the SHA-256 of the file.

    Parameters
    ----------
    url : http or https.
    path : where the file goes; a file that is there and has the right sum (any, without `sha256`) is left alone.
    sha256 : the sum that the file must have, 64 hexadecimal digits; without it the file is as the server gives it.
    progress : where it is shown; by default nowhere.

    Contract: `path` is absent or whole. What was received before a failure stays in `path`.part, and the next call asks
    for the rest only, if the server still offers the same file (its ETag or date says so); else it starts anew.
    """
    path = Path(path)
    wanted = _digest(sha256) if sha256 else None
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise refuse(url, "an address that starts with http:// or https://", "another", "give the address of a file")
    if path.is_file():
        found = file_digest(path)
        if wanted not in (None, found):
            raise refuse(path, f"the SHA-256 {wanted}", found, "remove the file to download it again")
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _receive(url, part, progress)
    except (OSError, http.client.HTTPException) as error:  # no connection, no such file, a full disk
        done = part.stat().st_size if part.is_file() else 0
        do = "run again to go on from there" if done else "check address and connection"
        raise refuse(url, "a complete download", f"{error} after {done:,} bytes", do) from None
    found = file_digest(part)
    if wanted not in (None, found):
        part.unlink()
        raise refuse(url, f"the SHA-256 {wanted}", found, "check the sum; the file was removed")
    os.replace(part, path)
    _tag(part).unlink(missing_ok=True)
    return found


def fetch_all(
    base: str, names: Mapping[str, str | None], folder: str | Path, *, progress: Progress | None = None
) -> dict[str, str]:
    """Download `base`/<name> for each name into `folder`, and write their sums to `folder`/SHA256SUMS.

    Parameters
    ----------
    names : paths below `base` and below `folder`, with their SHA-256, or None where it is not known. A sum that an
        earlier call wrote to SHA256SUMS counts as known.

    Returns
    -------
    The SHA-256 of each file, as in SHA256SUMS, which `sha256sum -c` reads.
    """
    folder = Path(folder)
    for name in names:
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts or "\\" in name:
            raise refuse("names", "paths below the folder", repr(name), "give relative names without ..")
    sums = read_sums(folder / SUMS) if (folder / SUMS).is_file() else {}
    for name, digest in names.items():
        url = f"{base.rstrip('/')}/{urllib.parse.quote(name)}"
        sums[name] = fetch(url, folder / name, sha256=digest or sums.get(name), progress=progress)
        with atomic_file(folder / SUMS) as temporary:
            temporary.write_text("".join(f"{found}  {own}\n" for own, found in sorted(sums.items())), encoding="utf-8")
    return {name: sums[name] for name in names}


def read_sums(path: str | Path) -> dict[str, str]:
    """Return the SHA-256 by name from a file in the layout of `sha256sum`: a sum, two blanks, a name on each line."""
    try:
        lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(path, "a file of sums", f"{error}", "write one with sha256sum") from None
    found = [re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line) for line in lines]
    wrong = [i for i, match in enumerate(found) if match is None]
    if wrong:
        raise refuse(f"{path} line {wrong[0] + 1}", "a SHA-256, two blanks, a name", lines[wrong[0]], "correct it")
    return {match[2]: match[1].lower() for match in found if match}


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise refuse("sha256", "64 hexadecimal digits", text, "copy the whole sum")
    return text.lower()


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what is missing of the file, or start anew where the server does not go on."""
    done = part.stat().st_size if part.is_file() and _tag(part).is_file() else 0
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", _tag(part).read_text(encoding="utf-8"))
    try:
        answer: Any = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{done}":  # nothing is missing
            return
        if error.code == 416:
            part.unlink()
        raise
    with closing(answer):
        ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        resumed = answer.status == 206 and ranged is not None and int(ranged[1]) == done
        if answer.status != 200 and not resumed:
            raise http.client.HTTPException(f"status {answer.status}")
        length = answer.headers.get("Content-Length")
        total = int(ranged[2]) if resumed and ranged else int(length) if length else None
        if not resumed:
            done = 0
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            _tag(part).unlink(missing_ok=True)
            if tag and not tag.startswith("W/"):  # a weak tag does not vouch for the bytes
                _tag(part).write_text(tag, encoding="utf-8")
        with part.open("ab" if resumed else "wb") as file:
            done = _copy(answer, file, done, total, url, progress)
    if total is not None and done != total:
        raise http.client.HTTPException(f"{done:,} of {total:,} bytes")


def _copy(answer: Any, file: IO[bytes], done: int, total: int | None, url: str, progress: Progress | None) -> int:
    from sciml.progress import Progress as Silent

    shown = progress or Silent(enabled=False)
    with shown.track(max(total or 0, done), f"fetch {url.rsplit('/', 1)[-1]}", start=done) as update:
        while block := answer.read(CHUNK_BYTES):
            file.write(block)
            done += len(block)
            update(done)
    return done
