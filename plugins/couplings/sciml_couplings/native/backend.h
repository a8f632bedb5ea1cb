/* What runs a checked call: the compiled package (backend_torch.cpp) or Python (written by cffi). Every function returns
 * 0 for success and else writes a sentence of at most n_error bytes, zero included. */
#ifndef SCIML_BACKEND_H
#define SCIML_BACKEND_H

#include "sciml_surrogate.h"

#ifdef __cplusplus
extern "C" {
#endif

int32_t sciml_backend_open(const char *package, int32_t device, int32_t n_runners, void **backend, char *error,
                           int32_t n_error);
int32_t sciml_backend_run(void *backend, const sciml_tensor *inputs, int32_t n_inputs, const sciml_tensor *outputs,
                          int32_t n_outputs, char *error, int32_t n_error);
/* Copy the values of an array on the device into host memory of the same size. */
int32_t sciml_backend_to_host(void *backend, const sciml_tensor *array, void *host, char *error, int32_t n_error);
void sciml_backend_close(void *backend);

#ifdef __cplusplus
}
#endif

#endif
