"""Hygiene of plugins: a hook module is imported by `sciml --help`, so it must be light."""

from __future__ import annotations

import subprocess
import sys

from sciml.testing.checks import Check

HEAVY = ("torch", "xarray", "scipy", "matplotlib", "pandas", "h5py", "numba", "pint")


def check_plugin_import_is_light(module_name: str) -> list[Check]:
    """Import the hook module in a fresh interpreter and see that nothing heavy came along."""
    name = f"importing {module_name} is light"
    code = (
        "import importlib, sys; importlib.import_module(sys.argv[1]); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, module_name], capture_output=True, text=True, check=False)
    if done.returncode:
        return [Check(name, False, (done.stderr.strip().splitlines() or ["the import failed"])[-1])]
    heavy = done.stdout.split()
    detail = f"expected none of {', '.join(HEAVY)}, got {', '.join(heavy)}; import it where it is used" if heavy else ""
    return [Check(name, not heavy, detail)]
