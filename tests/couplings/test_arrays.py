"""Arrays go into and out of the fast path without a copy: the addresses are the same."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from sciml_couplings.arrays import call, tensor
from small_surrogates import Spring, spring, spring_inputs

from sciml import Surrogate


class Recorder(Spring):
    """Keeps what came in and went out."""

    registered = "small.recorder"

    def forward(self, position, stiffness):
        self.seen = {"position": position, "stiffness": stiffness}
        self.given = super().forward(position, stiffness)
        return self.given


class Lent:
    """An array of a library that is neither NumPy nor torch, known by DLPack alone, as CuPy's are."""

    __module__ = "lending_library"

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


@pytest.fixture
def arrays():
    data = spring_inputs(5)
    return {name: data[name].values.copy() for name in ("position", "stiffness")}


def test_numpy_arrays_share_their_memory_with_the_network(arrays):
    surrogate = Surrogate(Recorder())
    before = {name: array.copy() for name, array in arrays.items()}
    found = call(surrogate, **arrays)
    for name, array in arrays.items():
        assert surrogate.network.seen[name].data_ptr() == array.ctypes.data
        np.testing.assert_array_equal(array, before[name])
    for name, array in found.items():
        assert isinstance(array, np.ndarray)
        assert surrogate.network.given[name].data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(found["force"], spring().predict(spring_inputs(5))["force"])


def test_a_strided_view_is_taken_as_it_lies(arrays):
    surrogate = Surrogate(Recorder())
    wide = np.repeat(arrays["position"], 2, axis=1)
    view = wide[:, ::2]
    found = call(surrogate, position=view, stiffness=arrays["stiffness"])
    assert surrogate.network.seen["position"].data_ptr() == view.ctypes.data
    assert surrogate.network.seen["position"].stride() == (4, 2)
    np.testing.assert_array_equal(found["force"], call(surrogate, **arrays)["force"])


def test_torch_tensors_stay_tensors_and_record_no_gradient(arrays):
    surrogate = Surrogate(Recorder())
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    found = call(surrogate, **tensors)
    assert surrogate.network.seen["position"].data_ptr() == tensors["position"].data_ptr()
    assert not any(output.requires_grad for output in found.values())


def test_arrays_of_another_library_come_back_as_its_own(arrays, monkeypatch):
    library = types.ModuleType("lending_library")
    library.from_dlpack = lambda output: Lent(np.from_dlpack(output))
    monkeypatch.setitem(sys.modules, "lending_library", library)
    surrogate = Surrogate(Recorder())
    found = call(surrogate, **{name: Lent(array) for name, array in arrays.items()})
    assert surrogate.network.seen["position"].data_ptr() == arrays["position"].ctypes.data
    assert found["force"].values.ctypes.data == surrogate.network.given["force"].data_ptr()


def test_cupy_arrays_stay_on_the_gpu(arrays):
    cupy = pytest.importorskip("cupy", reason="needs cupy and a GPU", exc_type=ImportError)
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    surrogate = Surrogate(Recorder()).to("cuda")
    given = {name: cupy.asarray(array) for name, array in arrays.items()}
    found = call(surrogate, **given)
    assert surrogate.network.seen["position"].data_ptr() == given["position"].data.ptr
    assert found["force"].data.ptr == surrogate.network.given["force"].data_ptr()


def test_what_would_need_a_copy_is_refused(arrays):
    with pytest.raises(ValueError, match=r"expected torch.float64 on cpu, got torch.float32 on cpu"):
        call(spring(), position=arrays["position"].astype(np.float32), stiffness=arrays["stiffness"])
    with pytest.raises(ValueError, match="expected position, stiffness, got position"):
        call(spring(), position=arrays["position"])
    arrays["position"].flags.writeable = False
    with pytest.raises(ValueError, match="may not be written"):
        call(spring(), **arrays)
    with pytest.raises(ValueError, match="expected an array that DLPack can share, got list"):
        tensor("x", [1.0])
