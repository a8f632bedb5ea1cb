"""The choice of an implementation, and what is said when it cannot be made."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from sciml_kernels.backend import backend, choose, use_backend
from sciml_kernels.branch_trunk import branch_trunk


def test_backend_comes_from_the_variable_and_the_innermost_block_wins(monkeypatch):
    monkeypatch.delenv("SCIML_KERNELS", raising=False)
    assert backend() == "auto"
    monkeypatch.setenv("SCIML_KERNELS", "reference")
    assert backend() == "reference"
    with use_backend("auto"):
        with use_backend("triton"):
            assert backend() == "triton"
        assert backend() == "auto"
    assert backend() == "reference"


def test_backend_is_put_back_when_the_block_raises(monkeypatch):
    monkeypatch.delenv("SCIML_KERNELS", raising=False)
    with pytest.raises(KeyError), use_backend("reference"):
        raise KeyError
    assert backend() == "auto"


def test_unknown_backend_is_refused_with_the_known_ones(monkeypatch):
    with pytest.raises(ValueError, match=r"^use_backend: expected one of auto, reference, triton, got 'cuda'; set one"):
        use_backend("cuda").__enter__()
    monkeypatch.setenv("SCIML_KERNELS", "fast")
    with pytest.raises(ValueError, match=r"^SCIML_KERNELS: expected one of auto, reference, triton, got 'fast'"):
        branch_trunk(torch.ones(1, 1), torch.ones(1, 1))


def test_auto_takes_numba_on_a_cpu_and_triton_on_a_gpu_where_the_op_says_it_pays():
    pytest.importorskip("numba")
    pytest.importorskip("triton")
    with use_backend("auto"):
        assert choose(("numba", "triton"), "cpu") == "numba"
        assert choose(("torch", "triton"), "cpu") == "torch"
        assert choose(("torch",), "cuda") == choose(("triton",), "cpu") == "reference"
        assert choose(("numba", "triton"), "cuda") == "triton"
        assert choose(("numba", "triton"), "cuda", pays=False) == "reference"
        assert choose(("numba", "triton"), "mps") == "reference"
    with use_backend("triton"), pytest.raises(ValueError, match="expected an op with a Triton kernel, got one without"):
        choose(("numba",), "cuda")


def test_triton_on_cpu_tensors_without_the_interpreter_says_what_to_set():
    code = (
        "import torch\nfrom sciml_kernels.branch_trunk import branch_trunk\n"
        "branch_trunk(torch.ones(2, 3), torch.ones(2, 3))\n"
    )
    done = run(code, SCIML_KERNELS="triton")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: branch_trunk: expected TRITON_INTERPRET=1 at the first use of Triton on CPU")


def test_importing_the_command_line_loads_no_heavy_package():
    heavy = "{'torch', 'triton', 'numba', 'numpy'}"
    code = f"import sys, sciml_kernels, sciml_kernels.cli\nprint(sorted({heavy} & set(sys.modules)))"
    assert run(code).stdout.strip() == "[]"


def test_importing_an_op_loads_neither_triton_nor_numba():
    # torch itself may import triton where it finds it, so the kernel's module is what is looked for.
    code = (
        "import sys, torch\nfrom sciml_kernels.branch_trunk import branch_trunk\n"
        "branch_trunk(torch.ones(2, 3), torch.ones(4, 3))\n"
        "ours = [name for name in sys.modules if name.startswith('sciml_kernels')]\n"
        "print([name for name in ours if 'triton' in name], 'numba' in sys.modules)"
    )
    assert run(code).stdout.strip() == "[] False"


def run(code, **variables):
    import os

    kept = {key: value for key, value in os.environ.items() if key not in ("SCIML_KERNELS", "TRITON_INTERPRET")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**kept, **variables}
    )
