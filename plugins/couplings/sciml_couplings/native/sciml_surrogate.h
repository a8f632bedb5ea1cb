/* Calling a trained surrogate from C, C++ and, through sciml_surrogate.f90, Fortran.
 *
 * Arrays are dense and row-major: the last entry of `shape` varies fastest. Every call checks number, rank, type, fixed
 * and shared dimensions, finiteness and ranges before anything runs, and reads and writes inside the given n_bytes only.
 * A call returns SCIML_OK or one of the codes below; sciml_last_error() then has the sentence, for the calling thread.
 *
 * Threads: any number may call one handle at once. `n_runners` of sciml_open says how many predictions run at the same
 * time; further ones wait. Closing a handle that another thread still uses is an error of the caller.
 */
#ifndef SCIML_SURROGATE_H
#define SCIML_SURROGATE_H

#include <stdint.h>

#define SCIML_ABI_VERSION 1
#define SCIML_MAX_RANK 8
#define SCIML_MAX_FIELDS 64

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sciml_surrogate sciml_surrogate;

enum sciml_status {
    SCIML_OK = 0,
    SCIML_BAD_ARGUMENT = 1,  /* a null pointer, a wrong number of arrays, an index or policy that does not exist */
    SCIML_BAD_RANK = 2,
    SCIML_BAD_DTYPE = 3,     /* or an array on another device than the surrogate */
    SCIML_BAD_SHAPE = 4,     /* a fixed dimension, or one that two arrays share */
    SCIML_NOT_FINITE = 5,    /* NaN where nothing may be missing, or infinity */
    SCIML_OUT_OF_BOUNDS = 6, /* beyond the physical limits: always an error */
    SCIML_OUTSIDE = 7,       /* outside the training domain, and the policy is SCIML_REFUSE */
    SCIML_BUFFER_TOO_SMALL = 8,
    SCIML_NO_FILE = 9,
    SCIML_BAD_PACKAGE = 10,  /* truncated, damaged, or made for another processor */
    SCIML_BAD_VERSION = 11,
    SCIML_RUN_FAILED = 12,
    SCIML_BAD_OUTPUT = 13    /* the prediction is not finite or beyond its physical limits */
};

enum sciml_dtype { SCIML_FLOAT32 = 1, SCIML_FLOAT64 = 2 };
enum sciml_device { SCIML_CPU = 0, SCIML_CUDA = 1 };

/* What happens to inputs outside the training domain: an error, or a prediction and a bit in `outside`. */
enum sciml_policy { SCIML_REFUSE = 0, SCIML_FLAG = 1 };

/* An array of the caller. On SCIML_CUDA `data` is a device pointer. */
typedef struct sciml_tensor {
    void *data;
    int64_t n_bytes; /* that `data` has room for */
    int64_t shape[SCIML_MAX_RANK];
    int32_t rank;
    int32_t dtype;
    int32_t device;
    int32_t reserved; /* zero */
} sciml_tensor;

/* An input or output; the texts live as long as the handle. A size of -1 is the caller's choice, the same wherever the
 * dimension's name occurs. */
typedef struct sciml_field {
    const char *name;
    const char *unit;
    const char *dims[SCIML_MAX_RANK];
    int64_t sizes[SCIML_MAX_RANK];
    int32_t rank;
    int32_t dtype;
    int32_t device;
    int32_t reserved;
} sciml_field;

int32_t sciml_abi_version(void);

/* Open the exported folder. n_runners >= 1. On failure *surrogate is null. */
int32_t sciml_open(const char *folder, int32_t n_runners, sciml_surrogate **surrogate);

/* Numbers of arrays, in the order of sciml_predict; -1 for a null handle. */
int32_t sciml_n_inputs(const sciml_surrogate *surrogate);
int32_t sciml_n_outputs(const sciml_surrogate *surrogate);
int32_t sciml_input(const sciml_surrogate *surrogate, int32_t index, sciml_field *field);
int32_t sciml_output(const sciml_surrogate *surrogate, int32_t index, sciml_field *field);

/* Predict. Bit i of *outside (which may be null) tells that input i left the training domain. */
int32_t sciml_predict(sciml_surrogate *surrogate, const sciml_tensor *inputs, int32_t n_inputs,
                      const sciml_tensor *outputs, int32_t n_outputs, int32_t policy, uint64_t *outside);

/* Predict any number of samples along the batch dimension, also where it is fixed: then sample by sample. */
int32_t sciml_predict_batch(sciml_surrogate *surrogate, const sciml_tensor *inputs, int32_t n_inputs,
                            const sciml_tensor *outputs, int32_t n_outputs, int32_t policy, uint64_t *outside);

/* The sentence of the last error in this thread; empty if there was none. Valid until the next call. */
const char *sciml_last_error(void);

/* Close the handle; null is allowed. */
void sciml_close(sciml_surrogate *surrogate);

#ifdef __cplusplus
}
#endif

#endif
