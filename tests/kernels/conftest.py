"""Triton for the tests of this folder: real on a machine with a GPU, interpreted on one without."""

from __future__ import annotations

import importlib.util

import pytest
import torch


@pytest.fixture(scope="session")
def triton_device():
    """Return the device on which Triton kernels run here; without a GPU they are loaded for the interpreter."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed on this platform")
    if torch.cuda.is_available():
        return "cuda"
    from sciml_kernels.testing import interpret_triton

    interpret_triton()
    return "cpu"
