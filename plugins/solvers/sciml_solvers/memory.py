"""The peak of the memory that this process holds, where the kernel keeps account of it; standard library alone.

Pages of files, such as the code of libraries, do not count: the kernel drops and reads them again as it sees fit.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

M_MMAP_THRESHOLD, PAGES_FROM = -3, 2**20


def reset_peak() -> bool:
    """Give free memory back and ask the kernel to forget the peak of the resident memory; say whether both did.

    From here on arrays of a mebibyte and more get pages of their own, which go back when they are freed. Left to itself
    the allocator of glibc learns to keep them, and the gaps between them would count as memory that a method needs.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, PAGES_FROM)
        library.malloc_trim(0)  # else what was freed before is used again and does not show
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def resident() -> int | None:
    """Return the resident memory of this process in bytes; None where there is no account of it."""
    return _without_files("VmRSS:")


def peak() -> int | None:
    """Return the largest resident memory since `reset_peak` in bytes; None where there is no account of it.

    The pages of files are those of now, which a run only adds to.
    """
    return _without_files("VmHWM:")


def _without_files(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    account = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    return account[key] - account.get("RssFile:", 0) if key in account else None
