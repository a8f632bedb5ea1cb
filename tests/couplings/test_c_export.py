"""A surrogate in C gives what it gives in Python, and says no where Python says no."""

from __future__ import annotations

import ctypes
import resource
import shutil
import subprocess
import threading

import numpy as np
import pytest
import torch
from exported_policy import example_tensors, exported, policy  # noqa: F401, a fixture
from sciml_acoustics.deeponet import DeepONet, DeepONetOptions
from sciml_acoustics.modal import ModalOperator
from sciml_acoustics.two_step import TwoStep
from sciml_cosmo.parameters.surrogate import CosmologyNet
from sciml_cosmo.trees.network import TreeParameters
from sciml_cosmo.velocity.equivariant import EquivariantVelocity
from sciml_couplings.aot import trace
from sciml_couplings.bench_c import build_program, example_error
from sciml_couplings.c_export import to_c
from sciml_fishery.policies import ConstantEscapement, ConstantMortality, HockeyStick, PredatorEscapement, TablePolicy
from sciml_mfuq.engines import fit_engine
from sciml_mfuq.study.functions import CASES
from sciml_mfuq.surrogate import Input, MultiFidelity, Output
from sciml_solvers.dcdm_net import DcdmNet
from sciml_solvers.learned import LearnedCycle
from sciml_solvers.mlpcg import MlpcgNet

from sciml import Surrogate

SQUARE = [[[0.0, 0.0], [2.0, 2.0]]]
SEEN = ["cod", "herring", "seal"], ["cod", "herring"]


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("n_bytes", ctypes.c_int64), ("shape", ctypes.c_int64 * 8),
        ("rank", ctypes.c_int32), ("dtype", ctypes.c_int32), ("device", ctypes.c_int32), ("reserved", ctypes.c_int32),
    )  # fmt: skip

    @classmethod
    def of(cls, array):
        shape = (ctypes.c_int64 * 8)(*array.shape)
        return cls(array.ctypes.data, array.nbytes, shape, array.ndim, {4: 1, 8: 2}[array.itemsize], 0, 0)


class Library:
    def __init__(self, folder, n_runners=1):
        self.lib = ctypes.CDLL(str(folder / "lib" / "libsciml_surrogate.so"))
        self.lib.sciml_last_error.restype = ctypes.c_char_p
        self.lib.sciml_close.argtypes = [ctypes.c_void_p]
        self.handle = ctypes.c_void_p()
        self.status = self.lib.sciml_open(str(folder).encode(), n_runners, ctypes.byref(self.handle))

    def error(self):
        return self.lib.sciml_last_error().decode()

    def predict(self, given, policy=0, by_batch=False):
        """Return status, fraction and the mask of inputs outside."""
        arrays = [np.ascontiguousarray(given[name]) for name in ("stock", "year")]
        out, outside = np.full((len(arrays[0]), 2), -1.0, np.float32), ctypes.c_uint64()
        call = self.lib.sciml_predict_batch if by_batch else self.lib.sciml_predict
        inputs, outputs = (Tensor * 2)(*map(Tensor.of, arrays)), (Tensor * 1)(Tensor.of(out))
        status = call(self.handle, inputs, 2, outputs, 1, policy, ctypes.byref(outside))
        return status, out, outside.value

    def close(self):
        self.lib.sciml_close(self.handle)


@pytest.fixture(scope="module")
def library(exported):  # noqa: F811
    opened = Library(exported, 2)
    assert opened.status == 0, opened.error()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["harvest.c", "harvest.cpp"])
def test_time_loop_in_c_and_cpp_ends_where_python_ends(name, exported, tmp_path):  # noqa: F811
    assert example_error(policy(), exported, name, tmp_path) <= 1e-6


@pytest.mark.parametrize("n", [1, 2, 17])
def test_batch_of_any_size_is_predicted_as_in_python(n, library):
    given = example_tensors(n)
    with torch.no_grad():
        wanted = policy()(**given)["fraction"].numpy()
    for by_batch in (False, True):
        status, found, outside = library.predict(given, by_batch=by_batch)
        assert (status, outside) == (0, 0), library.error()
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def test_careless_calls_are_refused_by_the_real_library(library):
    given = example_tensors(3)
    uneven = {**given, "year": given["year"][:2]}
    missing = {**given, "stock": given["stock"].clone().fill_(torch.nan)}
    far = {**given, "stock": given["stock"] + 5}
    double = {name: tensor.double() for name, tensor in given.items()}
    flat = {**given, "stock": given["stock"].flatten()}
    for wrong, status in ((uneven, 4), (missing, 5), (far, 7), (double, 3), (flat, 2)):
        found = library.predict(wrong)
        assert found[0] == status, library.error()
        assert library.error()
        assert (found[1] == -1.0).all()
    assert library.predict(far, policy=1)[::2] == (0, 1)


def test_truncated_package_and_missing_folder_do_not_open(exported, tmp_path):  # noqa: F811
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    data = (copy / "surrogate.pt2").read_bytes()
    (copy / "surrogate.pt2").write_bytes(data[: len(data) // 2])
    broken = Library(copy)
    assert (broken.status, broken.handle.value) == (10, None)
    assert "copy the folder again" in broken.error()
    (copy / "surrogate.spec").unlink()
    assert Library(copy).status == 9


def test_eight_threads_get_their_own_answers_and_memory_stays(library):
    calls = [example_tensors(n, seed=n) for n in range(1, 9)]
    with torch.no_grad():
        wanted = [policy()(**given)["fraction"].numpy() for given in calls]
    wrong = []

    def work(number):
        for _ in range(150):
            status, found, _ = library.predict(calls[number])
            if status or not np.allclose(found, wanted[number], rtol=1e-6, atol=1e-7):
                wrong.append(number)

    before = None
    for _ in range(3):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert wrong == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000  # kB, after 2400 further calls


def test_pkg_config_gives_the_compile_line_and_cmake_the_target(exported, tmp_path):  # noqa: F811
    if shutil.which("pkg-config") is None or shutil.which("gcc") is None:
        pytest.skip("no pkg-config or gcc on this machine")
    environment = {"PKG_CONFIG_PATH": str(exported / "lib" / "pkgconfig"), "PATH": "/usr/bin:/bin"}
    command = ["pkg-config", "--cflags", "--libs", "sciml_surrogate"]
    flags = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    source, program = exported / "examples" / "harvest.c", tmp_path / "harvest"
    subprocess.run(["gcc", "-std=c11", str(source), "-o", str(program), *flags], check=True)
    assert len(subprocess.run([program, exported], capture_output=True, text=True, check=True).stdout.split()) == 12
    assert "sciml::surrogate" in (exported / "CMakeLists.txt").read_text()


def test_portable_program_is_plain_torch(exported):  # noqa: F811
    program = torch.export.load(exported / "program.pt2")
    given = example_tensors(4)
    torch.testing.assert_close(program.module()(given)[0], policy()(**given)["fraction"])


def test_benchmark_program_runs(exported, tmp_path):  # noqa: F811
    from importlib import resources

    source = tmp_path / "bench.c"
    source.write_bytes((resources.files("sciml_couplings") / "native" / "bench.c").read_bytes())
    done = subprocess.run(
        [build_program(exported, source, tmp_path / "bench"), exported, "1", "10", "3"], capture_output=True
    )
    assert float(done.stdout) > 0


def sensors():
    return np.random.default_rng(3).uniform(0, 2, (7, 2))


def fitted(engine, case="park", seed=5):
    samples = CASES[case].sample(seed)
    unit = tuple(Input(f"x{number}", "m", 0.0, 1.0) for number in range(samples.n_feature))
    return MultiFidelity.of(unit, [Output("flow", "m3/s")], [[fit_engine(engine, samples, seed)]])


GRID = {"cell_x": 8, "cell_y": 8}
NETWORKS = {  # name: (how to make it, sizes to be told, dimensions that stay free)
    "modal": (lambda: ModalOperator(SQUARE, sensors(), (0.2, 1.0), 4, (5.0, 0.1)), {}, {"source", "receiver", "time"}),
    "two_step": (
        lambda: TwoStep(SQUARE, sensors(), (0.2, 1.0), [0.0, 0.1, 0.2], (3, 4), 6), {}, {"source", "receiver"},
    ),
    "deeponet": (
        lambda: DeepONet(SQUARE, options=DeepONetOptions(width=12, n_outputs=6)), {}, {"source", "receiver", "time"},
    ),
    "kriging": (lambda: fitted("gp"), {}, set()),
    "pieces": (lambda: fitted("pieces", "c2", 103), {}, set()),
    "residual": (lambda: fitted("residual"), {}, set()),
    "dcdm": (lambda: DcdmNet(2), GRID, {"batch"}),
    "mlpcg": (lambda: MlpcgNet(2, 1), GRID, {"batch"}),
    "learned_cycle": (lambda: LearnedCycle(4), {"feature": 16}, {"batch", "cell_x", "cell_y", "cell_z"}),
    "mortality": (lambda: ConstantMortality(*SEEN), {}, {"batch"}),
    "escapement": (lambda: ConstantEscapement(*SEEN), {}, {"batch"}),
    "hockey_stick": (lambda: HockeyStick(*SEEN), {}, {"batch"}),
    "predator": (lambda: PredatorEscapement(*SEEN), {}, {"batch"}),
    "table": (lambda: TablePolicy(*SEEN, [[0.1, 1.0]] * 3), {}, {"batch"}),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_network_of_a_plugin_is_traced_with_its_free_dimensions(name):
    make, sizes, free = NETWORKS[name]
    traced = trace(Surrogate(make()), sizes=sizes)  # compares with Python at two sets of sizes
    assert {dim for dim, size in traced.sizes.items() if size.fixed is None} == free
    assert "sciml" not in {node.target.namespace for node in traced.program.graph.nodes if node.op == "call_function"
                           and hasattr(node.target, "namespace")}  # fmt: skip


@pytest.mark.parametrize("kind", [EquivariantVelocity, CosmologyNet, TreeParameters])
def test_network_that_cannot_be_traced_says_why(kind, tmp_path):
    assert kind.not_exportable
    if kind is CosmologyNet:
        return  # its constructor takes what only a fit makes
    network = EquivariantVelocity(8, 1, 9.0, (4.0,)) if kind is EquivariantVelocity else TreeParameters("moments", {})
    sizes = {"axis": 3, "node": 12} if kind is EquivariantVelocity else {"node": 4, "feature": 4}
    with pytest.raises(ValueError, match=kind.not_exportable):
        to_c(Surrogate(network), tmp_path / "out", sizes=sizes)
    assert not (tmp_path / "out").exists()


def test_size_that_only_the_trace_would_choose_has_to_be_told():
    with pytest.raises(ValueError, match="say its size"):
        trace(Surrogate(DcdmNet(2)))
