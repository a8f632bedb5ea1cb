! Calling a trained surrogate from Fortran: the interface of sciml_surrogate.h and views of Fortran arrays.
!
! Fortran arrays are column-major. `tensor` gives the surrogate the same memory with the dimensions reversed, without a
! copy: what Python calls pressure(source, time) is pressure(time, source) here.
module sciml_surrogate
  use, intrinsic :: iso_c_binding
  implicit none
  private
  public :: sciml_tensor, sciml_field, tensor, text
  public :: sciml_open, sciml_close, sciml_predict, sciml_predict_batch
  public :: sciml_n_inputs, sciml_n_outputs, sciml_input, sciml_output, sciml_abi_version
  public :: open_surrogate, last_error

  integer, parameter :: max_rank = 8
  integer(c_int32_t), parameter :: float32 = 1, float64 = 2
  integer(c_int32_t), parameter, public :: sciml_ok = 0, sciml_bad_argument = 1, sciml_bad_rank = 2, &
    sciml_bad_dtype = 3, sciml_bad_shape = 4, sciml_not_finite = 5, sciml_out_of_bounds = 6, sciml_outside = 7, &
    sciml_buffer_too_small = 8, sciml_no_file = 9, sciml_bad_package = 10, sciml_bad_version = 11, &
    sciml_run_failed = 12, sciml_bad_output = 13
  integer(c_int32_t), parameter, public :: sciml_refuse = 0, sciml_flag = 1

  type, bind(c) :: sciml_tensor
    type(c_ptr) :: data = c_null_ptr
    integer(c_int64_t) :: n_bytes = 0
    integer(c_int64_t) :: shape(max_rank) = 0
    integer(c_int32_t) :: rank = 0, dtype = 0, device = 0, reserved = 0
  end type

  type, bind(c) :: sciml_field
    type(c_ptr) :: name = c_null_ptr, unit = c_null_ptr
    type(c_ptr) :: dims(max_rank) = c_null_ptr
    integer(c_int64_t) :: sizes(max_rank) = 0
    integer(c_int32_t) :: rank = 0, dtype = 0, device = 0, reserved = 0
  end type

  ! A view of an array, which needs the attribute target and must be contiguous (else its rank is -1, which the
  ! surrogate refuses).
  interface tensor
    module procedure tensor_float32, tensor_float64
  end interface

  interface
    integer(c_int32_t) function sciml_abi_version() bind(c)
      import :: c_int32_t
    end function

    integer(c_int32_t) function sciml_open(folder, n_runners, surrogate) bind(c)
      import :: c_char, c_int32_t, c_ptr
      character(kind=c_char), intent(in) :: folder(*)
      integer(c_int32_t), value :: n_runners
      type(c_ptr), intent(out) :: surrogate
    end function

    integer(c_int32_t) function sciml_n_inputs(surrogate) bind(c)
      import :: c_int32_t, c_ptr
      type(c_ptr), value :: surrogate
    end function

    integer(c_int32_t) function sciml_n_outputs(surrogate) bind(c)
      import :: c_int32_t, c_ptr
      type(c_ptr), value :: surrogate
    end function

    ! Fields are counted from 0, and their dims and sizes stand in the order of C.
    integer(c_int32_t) function sciml_input(surrogate, index, field) bind(c)
      import :: c_int32_t, c_ptr, sciml_field
      type(c_ptr), value :: surrogate
      integer(c_int32_t), value :: index
      type(sciml_field), intent(out) :: field
    end function

    integer(c_int32_t) function sciml_output(surrogate, index, field) bind(c)
      import :: c_int32_t, c_ptr, sciml_field
      type(c_ptr), value :: surrogate
      integer(c_int32_t), value :: index
      type(sciml_field), intent(out) :: field
    end function

    integer(c_int32_t) function sciml_predict(surrogate, inputs, n_inputs, outputs, n_outputs, policy, outside) bind(c)
      import :: c_int32_t, c_int64_t, c_ptr, sciml_tensor
      type(c_ptr), value :: surrogate
      integer(c_int32_t), value :: n_inputs, n_outputs, policy
      type(sciml_tensor), intent(in) :: inputs(*), outputs(*)
      integer(c_int64_t), intent(out), optional :: outside
    end function

    integer(c_int32_t) function sciml_predict_batch(surrogate, inputs, n_inputs, outputs, n_outputs, policy, outside) &
        bind(c)
      import :: c_int32_t, c_int64_t, c_ptr, sciml_tensor
      type(c_ptr), value :: surrogate
      integer(c_int32_t), value :: n_inputs, n_outputs, policy
      type(sciml_tensor), intent(in) :: inputs(*), outputs(*)
      integer(c_int64_t), intent(out), optional :: outside
    end function

    function c_last_error() result(message) bind(c, name="sciml_last_error")
      import :: c_ptr
      type(c_ptr) :: message
    end function

    subroutine sciml_close(surrogate) bind(c)
      import :: c_ptr
      type(c_ptr), value :: surrogate
    end subroutine

    integer(c_size_t) function strlen(string) bind(c)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: string
    end function
  end interface

contains

  ! Open the exported folder with one runner.
  integer(c_int32_t) function open_surrogate(folder, surrogate) result(status)
    character(len=*), intent(in) :: folder
    type(c_ptr), intent(out) :: surrogate
    status = sciml_open(trim(folder) // c_null_char, 1_c_int32_t, surrogate)
  end function

  ! The sentence of the last error in this thread.
  function last_error() result(message)
    character(len=:), allocatable :: message
    message = text(c_last_error())
  end function

  ! The characters of a C string.
  function text(string) result(characters)
    type(c_ptr), intent(in) :: string
    character(len=:), allocatable :: characters
    character(kind=c_char), pointer :: one(:)
    integer :: i
    call c_f_pointer(string, one, [strlen(string)])
    allocate (character(len=size(one)) :: characters)
    do i = 1, size(one)
      characters(i:i) = one(i)
    end do
  end function

  function tensor_float32(array) result(view)
    real(c_float), target, intent(in) :: array(..)
    type(sciml_tensor) :: view
    if (size(array) > 0) view%data = c_loc(array)
    view%n_bytes = 4 * size(array, kind=c_int64_t)
    view%dtype = float32
    call set_shape(view, int(shape(array), c_int64_t), is_contiguous(array))
  end function

  function tensor_float64(array) result(view)
    real(c_double), target, intent(in) :: array(..)
    type(sciml_tensor) :: view
    if (size(array) > 0) view%data = c_loc(array)
    view%n_bytes = 8 * size(array, kind=c_int64_t)
    view%dtype = float64
    call set_shape(view, int(shape(array), c_int64_t), is_contiguous(array))
  end function

  subroutine set_shape(view, extents, contiguous)
    type(sciml_tensor), intent(inout) :: view
    integer(c_int64_t), intent(in) :: extents(:)
    logical, intent(in) :: contiguous
    integer :: n
    n = size(extents)
    view%rank = merge(n, -1, contiguous .and. n <= max_rank)
    if (view%rank > 0) view%shape(1:n) = extents(n:1:-1)
  end subroutine

end module
