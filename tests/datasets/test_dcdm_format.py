import struct

import numpy as np
import pytest
from sciml_datasets.formats import dcdm
from scipy import sparse


def matrix(seed=3, shape=(7, 7)):
    random = np.random.default_rng(seed)
    return sparse.random(*shape, density=0.4, rng=random, format="csr", dtype=np.float64)


def eigen_bytes(head, values, starts, columns, kind="f"):
    """Pack a matrix number by number, as a C++ program would write it."""
    parts = [struct.pack("<5i", *head)]
    parts += [struct.pack(f"<{kind}", value) for value in values]
    parts += [struct.pack("<i", number) for number in [*starts, *columns]]
    return b"".join(parts)


SMALL = ((2, 3, 3, 2, 3), (1.5, -2.0, 4.0), (0, 2), (0, 2, 1))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_matrix_comes_back_to_the_bit(tmp_path, precision):
    a = matrix()
    a.data = a.data.astype(precision).astype(np.float64)
    dcdm.write_matrix(a, tmp_path / "A.bin", precision=precision)
    b = dcdm.read_matrix(tmp_path / "A.bin")
    assert b.shape == a.shape
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("closing", [(), (3,)])
def test_matrix_of_either_writer_and_precision_is_read(tmp_path, kind, closing):
    head, values, starts, columns = SMALL
    content = eigen_bytes((*head[:3], 2 + len(closing), 3), values, (*starts, *closing), columns, kind)
    (tmp_path / "A.bin").write_bytes(content)
    expected = [[1.5, 0, -2.0], [0, 4.0, 0]]
    np.testing.assert_array_equal(dcdm.read_matrix(tmp_path / "A.bin").toarray(), expected)


def test_writing_gives_the_bytes_of_the_layout(tmp_path):
    dcdm.write_matrix(sparse.csr_matrix([[1.5, 0, -2.0], [0, 4.0, 0]]), tmp_path / "A.bin")
    assert (tmp_path / "A.bin").read_bytes() == eigen_bytes(*SMALL)
    dcdm.write_rhs(np.array([0.5, -3.0]), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == struct.pack("<Qdd", 2, 0.5, -3.0)
    dcdm.write_flags(np.array([[0, 1], [2, 1]], np.uint8), tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == struct.pack("<Q4i", 4, 1, 2, 3, 2)


def test_rhs_and_flags_come_back(tmp_path):
    b = np.random.default_rng(8).standard_normal(11)
    dcdm.write_rhs(b, tmp_path / "b.bin")
    np.testing.assert_array_equal(dcdm.read_rhs(tmp_path / "b.bin"), b)
    cells = np.random.default_rng(9).integers(0, 3, (3, 4, 5)).astype(np.uint8)
    dcdm.write_flags(cells, tmp_path / "flags.bin")
    again = dcdm.read_flags(tmp_path / "flags.bin", cells.shape)
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, cells)
    np.testing.assert_array_equal(dcdm.read_flags(tmp_path / "flags.bin"), cells.ravel())


@pytest.mark.parametrize("n_kept", [0, 7, 19, 21, 40])
def test_truncated_matrix_is_refused(tmp_path, n_kept):
    path = tmp_path / "A.bin"
    path.write_bytes(eigen_bytes(*SMALL)[:n_kept])
    with pytest.raises(ValueError, match=r"A\.bin: expected .* bytes.*, got \d+.*; copy the file again"):
        dcdm.read_matrix(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": (2, 3, 3, 4, 3)}, "expected a matrix head with as many row starts as rows, or one more, got 2 rows"),
        ({"head": (-2, 3, 3, -2, 3)}, "expected a matrix head"),
        ({"starts": (0, 5)}, "expected row starts that rise from 0 to 3, got"),
        ({"starts": (1, 2)}, "expected row starts that rise from 0 to 3, got"),
        ({"columns": (0, 3, 1)}, "expected columns from 0 to 2, got 0 to 3"),
        ({"columns": (0, -1, 1)}, "expected columns from 0 to 2, got -1 to 1"),
        ({"values": (1.0, float("nan"), 1.0)}, "expected finite values, got NaN or infinity"),
    ],
)
def test_inconsistent_matrix_is_refused(tmp_path, change, message):
    parts = dict(zip(("head", "values", "starts", "columns"), SMALL, strict=True)) | change
    (tmp_path / "A.bin").write_bytes(eigen_bytes(**parts))
    with pytest.raises(ValueError, match=message):
        dcdm.read_matrix(tmp_path / "A.bin")


def test_wrong_closing_start_is_refused(tmp_path):
    (tmp_path / "A.bin").write_bytes(eigen_bytes((2, 3, 3, 3, 3), SMALL[1], (0, 2, 2), SMALL[3]))
    with pytest.raises(ValueError, match="expected row starts that rise"):
        dcdm.read_matrix(tmp_path / "A.bin")


@pytest.mark.parametrize("reader", [dcdm.read_rhs, dcdm.read_flags])
def test_truncated_vector_and_absent_file_are_refused(tmp_path, reader):
    with pytest.raises(ValueError, match=r"b\.bin: expected a file, got none there; check the path"):
        reader(tmp_path / "b.bin")
    (tmp_path / "b.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="expected a length of 8 bytes, got 3 bytes"):
        reader(tmp_path / "b.bin")
    (tmp_path / "b.bin").write_bytes(struct.pack("<Qdd", 3, 1.0, 2.0))
    with pytest.raises(ValueError, match=r"expected 3 numbers of [48] bytes after the length, got 16 bytes"):
        reader(tmp_path / "b.bin")


def test_bad_contents_of_vectors_are_refused(tmp_path):
    (tmp_path / "b.bin").write_bytes(struct.pack("<Qd", 1, float("inf")))
    with pytest.raises(ValueError, match="expected finite values"):
        dcdm.read_rhs(tmp_path / "b.bin")
    (tmp_path / "f.bin").write_bytes(struct.pack("<Q2i", 2, 2, 9))
    with pytest.raises(ValueError, match=r"expected flags of 1 \(solid\), 2 \(fluid\) and 3 \(air\), got 2 to 9"):
        dcdm.read_flags(tmp_path / "f.bin")
    dcdm.write_flags(np.ones(6, np.uint8), tmp_path / "f.bin")
    with pytest.raises(ValueError, match=r"expected 8 flags for the shape \(2, 4\), got 6; give the right shape"):
        dcdm.read_flags(tmp_path / "f.bin", (2, 4))


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="expected finite values in float32"):
        dcdm.write_matrix(sparse.csr_matrix([[1e300]]), tmp_path / "A.bin")
    with pytest.raises(ValueError, match=r"expected integers 0 \(solid\), 1 \(fluid\) and 2 \(air\), got uint8 up"):
        dcdm.write_flags(np.array([3], np.uint8), tmp_path / "f.bin")
    assert list(tmp_path.iterdir()) == []
