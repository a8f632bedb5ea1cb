"""A Fortran program calls a surrogate with its own arrays, dimensions reversed, and gets what Python gets."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from exported_policy import exported, policy  # noqa: F401, a fixture
from sciml_couplings.bench_c import example_error

PROGRAM = """
program careless
  use, intrinsic :: iso_c_binding
  use sciml_surrogate
  implicit none
  real(c_float), target :: stock(3, 4), wide(6, 4), year(4), fraction(2, 4)
  real(c_double), target :: stock64(3, 4)
  type(c_ptr) :: policy
  type(sciml_field) :: field
  integer(c_int32_t) :: status
  character(len=4096) :: folder
  call get_command_argument(1, folder)
  status = open_surrogate('nowhere', policy)
  print '(a, i0, l2, a)', 'nowhere ', status, c_associated(policy), last_error()
  status = open_surrogate(folder, policy)
  status = sciml_input(policy, 0_c_int32_t, field)
  print '(a, i0, 5a)', 'field ', field%rank, text(field%name), ' ', text(field%dims(1)), ' ', text(field%dims(2))
  stock = 0.5; year = 1; wide = 0.5; stock64 = 0.5
  call try('good', tensor(stock))
  call try('strided', tensor(wide(1:6:2, :)))
  call try('double', tensor(stock64))
  call try('transposed', tensor(reshape(stock, [4, 3])))
  stock(2, 3) = -1
  call try('negative', tensor(stock))
  call sciml_close(policy)
contains
  subroutine try(name, first)
    character(len=*), intent(in) :: name
    type(sciml_tensor), intent(in) :: first
    integer(c_int64_t) :: outside
    status = sciml_predict(policy, [first, tensor(year)], 2_c_int32_t, [tensor(fraction)], 1_c_int32_t, &
      sciml_refuse, outside)
    print '(2a, i0, 2a)', name, ' ', status, ' ', last_error()
  end subroutine
end program
"""


@pytest.fixture(autouse=True)
def compiler():
    if shutil.which("gfortran") is None:
        pytest.skip("no gfortran on this machine")


def test_time_loop_in_fortran_ends_where_python_ends(exported, tmp_path):  # noqa: F811
    assert example_error(policy(), exported, "harvest.f90", tmp_path) <= 1e-6


def test_careless_fortran_is_refused(exported, tmp_path):  # noqa: F811
    source = tmp_path / "careless.f90"
    source.write_text(PROGRAM)
    library = ["-L" + str(exported / "lib"), f"-Wl,-rpath,{exported / 'lib'}", "-lsciml_surrogate"]
    command = ["gfortran", str(exported / "fortran" / "sciml_surrogate.f90"), str(source), "-o", "careless", *library]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "careless", exported], capture_output=True, text=True, check=True)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines["nowhere"].startswith("nowhere 9 F")
    assert lines["field"] == "field 2stock batch species"
    assert lines["good"].split()[1] == "0"
    assert "2 input 'stock': expected 2 dimensions, got -1 (not contiguous)" in lines["strided"]
    assert lines["double"].split()[1] == "3"
    assert lines["transposed"].split()[1] == "4"
    assert "6 input 'stock'" in lines["negative"]
