// Runs the package that AOTInductor compiled; libtorch is used here and nowhere else.
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdio>

#include "backend.h"

namespace {

using Loader = torch::inductor::AOTIModelPackageLoader;

template <class Body>
int32_t guarded(char *error, int32_t n_error, Body body) noexcept {
    try {
        const c10::InferenceMode mode;
        body();
        return 0;
    } catch (const c10::Error &found) {
        std::snprintf(error, n_error, "%s", found.what_without_backtrace());
    } catch (const std::exception &found) {
        std::snprintf(error, n_error, "%s", found.what());
    } catch (...) {
        std::snprintf(error, n_error, "an unknown exception");
    }
    return 1;
}

// A view of the caller's memory.
at::Tensor view_of(const sciml_tensor &array) {
    const auto options = at::TensorOptions()
                             .dtype(array.dtype == SCIML_FLOAT32 ? at::kFloat : at::kDouble)
                             .device(array.device == SCIML_CUDA ? at::kCUDA : at::kCPU);
    return at::from_blob(array.data, at::IntArrayRef(array.shape, array.rank), options);
}

}  // namespace

extern "C" {

int32_t sciml_backend_open(const char *package, int32_t device, int32_t n_runners, void **backend, char *error,
                           int32_t n_error) {
    return guarded(error, n_error, [&] {
        const c10::DeviceIndex index = device == SCIML_CUDA ? 0 : -1;
        *backend = new Loader(package, "model", /*run_single_threaded=*/false, n_runners, index);
    });
}

int32_t sciml_backend_run(void *backend, const sciml_tensor *inputs, int32_t n_inputs, const sciml_tensor *outputs,
                          int32_t n_outputs, char *error, int32_t n_error) {
    return guarded(error, n_error, [&] {
        std::vector<at::Tensor> given;
        given.reserve(n_inputs);
        for (int32_t i = 0; i < n_inputs; ++i) given.push_back(view_of(inputs[i]));
        const auto found = static_cast<Loader *>(backend)->run(given);
        TORCH_CHECK(static_cast<int32_t>(found.size()) == n_outputs, "expected ", n_outputs, " outputs, got ",
                    found.size());
        for (int32_t i = 0; i < n_outputs; ++i) {
            at::Tensor wanted = view_of(outputs[i]);
            TORCH_CHECK(found[i].sizes() == wanted.sizes(), "output ", i, ": expected shape ", wanted.sizes(),
                        ", got ", found[i].sizes());
            wanted.copy_(found[i]);
        }
    });
}

int32_t sciml_backend_to_host(void *, const sciml_tensor *array, void *host, char *error, int32_t n_error) {
    return guarded(error, n_error, [&] {
        sciml_tensor target = *array;
        target.data = host;
        target.device = SCIML_CPU;
        view_of(target).copy_(view_of(*array));
    });
}

void sciml_backend_close(void *backend) { delete static_cast<Loader *>(backend); }

}  // extern "C"
