"""A shared object of one line that keeps XFOIL from trapping floating-point exceptions.

Debian builds XFOIL with traps for division by zero and overflow, which the program meets and survives in ordinary runs;
with them every viscous run dies by SIGFPE. The Fortran runtime sets the traps by `_gfortran_set_fpe` when the program
starts: a function of that name that does nothing, loaded before the runtime's, leaves them off.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from sciml_datasets import cached

from sciml_mfuq.simulators.simulator import MissingCompiler

SOURCE = "void _gfortran_set_fpe(int options) { (void)options; }\n"
LIBRARY = "no_traps.so"


def without_traps(folder: Path, cache: str | Path | None = None) -> dict[str, str]:
    """Return the environment variables that a child process in `folder` needs; the library is compiled at first use.

    Parameters
    ----------
    folder : working directory of the child; a link to the library is put there, since a path in LD_PRELOAD must not
        hold blanks.
    cache : where the library is kept, by the hash of its source; None means SCIML_CACHE or ~/.cache/sciml.

    Systems other than Linux get none. Without a C compiler the first use is a `MissingCompiler`.
    """
    if not sys.platform.startswith("linux"):
        return {}
    key = {"library": LIBRARY, "source": SOURCE, "machine": platform.machine()}
    (folder / LIBRARY).symlink_to((cached(cache, key, _compile) / LIBRARY).resolve())
    return {"LD_PRELOAD": ":".join(filter(None, [f"./{LIBRARY}", os.environ.get("LD_PRELOAD", "")]))}


def _compile(folder: Path) -> None:
    wanted = os.environ.get("CC") or "cc"
    compiler = shutil.which(wanted)
    if compiler is None:
        raise MissingCompiler(
            f"xfoil: expected a C compiler for its library of one line, got none at {wanted!r}; apt-get install gcc"
        )
    (folder / "no_traps.c").write_text(SOURCE, encoding="ascii")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", LIBRARY, "no_traps.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        got = " ".join(done.stderr.split())[:160]
        raise MissingCompiler(f"xfoil: expected {wanted!r} to compile one line of C, got {got!r}; apt-get install gcc")
