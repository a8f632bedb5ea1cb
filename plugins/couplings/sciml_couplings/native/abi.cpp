// The functions of sciml_surrogate.h: check, run, check. No exception leaves them.
#include <cstdlib>
#include <memory>

#include "backend.h"
#include "checks.hpp"

struct sciml_surrogate {
    sciml::Spec spec;
    void *backend = nullptr;

    ~sciml_surrogate() {
        if (backend) sciml_backend_close(backend);
    }
};

namespace {

using sciml::Failure;
using sciml::Field;

thread_local std::string last_error;

template <class Body>
int32_t guarded(Body body) noexcept {
    try {
        last_error.clear();
        body();
        return SCIML_OK;
    } catch (const Failure &failure) {
        last_error = failure.text;
        return failure.status;
    } catch (const std::exception &error) {
        last_error = std::string("sciml_surrogate: ") + error.what();
        return SCIML_RUN_FAILED;
    } catch (...) {
        last_error = "sciml_surrogate: an unknown exception";
        return SCIML_RUN_FAILED;
    }
}

void check_not_null(const void *pointer, const char *what) {
    if (!pointer) throw Failure{SCIML_BAD_ARGUMENT, std::string("expected ") + what + ", got a null pointer"};
}

struct Call {
    sciml_surrogate &surrogate;
    const sciml_tensor *inputs;
    int32_t n_inputs;
    const sciml_tensor *outputs;
    int32_t n_outputs;
};

template <class Function>
void attempt(int32_t status, const std::string &where, Function function) {
    char error[2048] = "";
    if (function(error, static_cast<int32_t>(sizeof error))) throw Failure{status, where + ": " + error};
}

bool check_one(const Call &call, const Field &field, const sciml_tensor &array, bool is_output) {
    const sciml::Spec &spec = call.surrogate.spec;
    if (array.device == SCIML_CPU) return sciml::check_values(spec, field, array.data, array, is_output);
    std::vector<char> host(sciml::n_bytes_of(array));
    attempt(SCIML_RUN_FAILED, "copy from the device", [&](char *error, int32_t n_error) {
        return sciml_backend_to_host(call.surrogate.backend, &array, host.data(), error, n_error);
    });
    return sciml::check_values(spec, field, host.data(), array, is_output);
}

uint64_t check_inputs(const Call &call, int32_t policy) {
    const auto &fields = call.surrogate.spec.inputs;
    uint64_t outside = 0;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (!check_one(call, fields[i], call.inputs[i], false)) continue;
        outside |= uint64_t(1) << i;
        if (policy == SCIML_REFUSE)
            throw Failure{SCIML_OUTSIDE, "input '" + fields[i].name +
                                             "': expected values inside the training domain, got others; retrain on a "
                                             "wider domain or pass SCIML_FLAG"};
    }
    return outside;
}

void run(const Call &call) {
    attempt(SCIML_RUN_FAILED, "predict", [&](char *error, int32_t n_error) {
        return sciml_backend_run(call.surrogate.backend, call.inputs, call.n_inputs, call.outputs, call.n_outputs,
                                 error, n_error);
    });
}

// The arrays of one sample; the batch dimension comes first where a field has it, so that no copy is needed.
std::vector<sciml_tensor> sample_of(const sciml::Spec &spec, const std::vector<Field> &fields,
                                    const sciml_tensor *arrays, int64_t sample) {
    std::vector<sciml_tensor> found(arrays, arrays + fields.size());
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (fields[i].dims.empty() || fields[i].dims[0] != spec.dim(spec.batch)) continue;
        found[i].shape[0] = 1;
        found[i].n_bytes = sciml::n_bytes_of(found[i]);
        found[i].data = static_cast<char *>(found[i].data) + sample * found[i].n_bytes;
    }
    return found;
}

void run_by_sample(const Call &call, int64_t n_batch) {
    const sciml::Spec &spec = call.surrogate.spec;
    for (int64_t sample = 0; sample < n_batch; ++sample) {
        const auto inputs = sample_of(spec, spec.inputs, call.inputs, sample);
        const auto outputs = sample_of(spec, spec.outputs, call.outputs, sample);
        run({call.surrogate, inputs.data(), call.n_inputs, outputs.data(), call.n_outputs});
    }
}

int32_t predict(sciml_surrogate *surrogate, const sciml_tensor *inputs, int32_t n_inputs, const sciml_tensor *outputs,
                int32_t n_outputs, int32_t policy, uint64_t *outside, bool any_batch) {
    return guarded([&] {
        check_not_null(surrogate, "an open surrogate");
        if (policy != SCIML_REFUSE && policy != SCIML_FLAG)
            throw Failure{SCIML_BAD_ARGUMENT,
                          "predict: expected SCIML_REFUSE or SCIML_FLAG, got policy " + std::to_string(policy)};
        const Call call{*surrogate, inputs, n_inputs, outputs, n_outputs};
        const sciml::Spec &spec = surrogate->spec;
        const auto sizes = sciml::check_shapes(spec, inputs, n_inputs, outputs, n_outputs, any_batch);
        const uint64_t found = check_inputs(call, policy);
        if (outside) *outside = found;
        if (any_batch && spec.batch_is_fixed())
            run_by_sample(call, sizes[spec.dim(spec.batch)]);
        else
            run(call);
        for (std::size_t i = 0; i < spec.outputs.size(); ++i) check_one(call, spec.outputs[i], outputs[i], true);
    });
}

int32_t describe(const sciml_surrogate *surrogate, bool is_input, int32_t index, sciml_field *field) {
    return guarded([&] {
        check_not_null(surrogate, "an open surrogate");
        check_not_null(field, "a field to write to");
        const sciml::Spec &spec = surrogate->spec;
        const auto &fields = is_input ? spec.inputs : spec.outputs;
        if (index < 0 || index >= static_cast<int32_t>(fields.size()))
            throw Failure{SCIML_BAD_ARGUMENT, "expected an index below " + std::to_string(fields.size()) + ", got " +
                                                  std::to_string(index)};
        const Field &one = fields[index];
        *field = sciml_field{};
        field->name = one.name.c_str();
        field->unit = one.unit.c_str();
        field->rank = static_cast<int32_t>(one.dims.size());
        field->dtype = spec.dtype;
        field->device = spec.device;
        for (std::size_t axis = 0; axis < one.dims.size(); ++axis) {
            field->dims[axis] = spec.dims[one.dims[axis]].name.c_str();
            field->sizes[axis] = spec.dims[one.dims[axis]].size;
        }
    });
}

}  // namespace

extern "C" {

int32_t sciml_abi_version(void) { return SCIML_ABI_VERSION; }

int32_t sciml_open(const char *folder, int32_t n_runners, sciml_surrogate **surrogate) {
    return guarded([&] {
        check_not_null(surrogate, "a place for the handle");
        *surrogate = nullptr;
        check_not_null(folder, "a folder");
        if (n_runners < 1)
            throw Failure{SCIML_BAD_ARGUMENT, "open: expected n_runners >= 1, got " + std::to_string(n_runners)};
        auto made = std::make_unique<sciml_surrogate>();
        made->spec = sciml::read_spec(folder);
        sciml::check_package(folder, made->spec);
        const std::string package = std::string(folder) + "/" + made->spec.package;
        attempt(SCIML_BAD_PACKAGE, package, [&](char *error, int32_t n_error) {
            return sciml_backend_open(package.c_str(), made->spec.device, n_runners, &made->backend, error, n_error);
        });
        *surrogate = made.release();
    });
}

int32_t sciml_n_inputs(const sciml_surrogate *surrogate) {
    return surrogate ? static_cast<int32_t>(surrogate->spec.inputs.size()) : -1;
}

int32_t sciml_n_outputs(const sciml_surrogate *surrogate) {
    return surrogate ? static_cast<int32_t>(surrogate->spec.outputs.size()) : -1;
}

int32_t sciml_input(const sciml_surrogate *surrogate, int32_t index, sciml_field *field) {
    return describe(surrogate, true, index, field);
}

int32_t sciml_output(const sciml_surrogate *surrogate, int32_t index, sciml_field *field) {
    return describe(surrogate, false, index, field);
}

int32_t sciml_predict(sciml_surrogate *surrogate, const sciml_tensor *inputs, int32_t n_inputs,
                      const sciml_tensor *outputs, int32_t n_outputs, int32_t policy, uint64_t *outside) {
    return predict(surrogate, inputs, n_inputs, outputs, n_outputs, policy, outside, false);
}

int32_t sciml_predict_batch(sciml_surrogate *surrogate, const sciml_tensor *inputs, int32_t n_inputs,
                            const sciml_tensor *outputs, int32_t n_outputs, int32_t policy, uint64_t *outside) {
    return predict(surrogate, inputs, n_inputs, outputs, n_outputs, policy, outside, true);
}

const char *sciml_last_error(void) { return last_error.c_str(); }

void sciml_close(sciml_surrogate *surrogate) { delete surrogate; }

}  // extern "C"
