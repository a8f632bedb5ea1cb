! Four lakes, three species in each, two of them fished by a trained policy: an explicit time loop around a surrogate.
!
!     dx/dt = x (1 - x) - f(x, t) x      f = 0 for the species that is not fished
!
! The policy takes stock(batch, species) and year(batch) and returns fraction(batch, fishery); dimensions are reversed
! here, so that the same memory is stock(species, lake). Usage: harvest FOLDER
program harvest
  use, intrinsic :: iso_c_binding
  use sciml_surrogate
  implicit none
  integer, parameter :: n_lake = 4, n_species = 3, n_fishery = 2, n_step = 50
  real(c_double), parameter :: dt = 0.1_c_double
  real(c_double) :: x(n_species, n_lake)
  real(c_float), target :: stock(n_species, n_lake), year(n_lake), fraction(n_fishery, n_lake)
  type(sciml_tensor) :: inputs(2), outputs(1)
  type(c_ptr) :: policy
  character(len=4096) :: folder
  integer :: lake, i, step

  call get_command_argument(1, folder)
  call check(open_surrogate(folder, policy))
  inputs = [tensor(stock), tensor(year)]
  outputs = [tensor(fraction)]
  do lake = 1, n_lake
    do i = 1, n_species
      x(i, lake) = 0.2_c_double + 0.1_c_double * (lake - 1) + 0.05_c_double * (i - 1)
    end do
  end do

  do step = 0, n_step - 1
    stock = real(x, c_float)
    year = real(step * dt, c_float)
    call check(sciml_predict(policy, inputs, 2_c_int32_t, outputs, 1_c_int32_t, sciml_refuse))
    x(1:n_fishery, :) = x(1:n_fishery, :) * (1 + dt * (1 - x(1:n_fishery, :) - fraction))
    x(n_fishery + 1:, :) = x(n_fishery + 1:, :) * (1 + dt * (1 - x(n_fishery + 1:, :)))
  end do
  print '(es25.17)', x
  call sciml_close(policy)

contains

  subroutine check(status)
    integer(c_int32_t), intent(in) :: status
    if (status == sciml_ok) return
    print '(a, i0, 2a)', 'harvest: error ', status, ': ', last_error()
    error stop 1
  end subroutine

end program
