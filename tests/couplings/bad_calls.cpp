// Every call that a careless program may make, against the library's own code without libtorch: the sanitizer watches.
// The backend below touches all memory that the checks let through, so a check that lets too much through is seen.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"

extern "C" {

int32_t sciml_backend_open(const char *, int32_t, int32_t, void **backend, char *, int32_t) {
    *backend = new int(0);
    return 0;
}

int32_t sciml_backend_run(void *, const sciml_tensor *inputs, int32_t n_inputs, const sciml_tensor *outputs,
                          int32_t n_outputs, char *error, int32_t n_error) {
    const auto count = [](const sciml_tensor &array) {
        int64_t n = 1;
        for (int32_t axis = 0; axis < array.rank; ++axis) n *= array.shape[axis];
        return n;
    };
    double sum = 0.0;
    for (int32_t i = 0; i < n_inputs; ++i)
        for (int64_t at = 0; at < count(inputs[i]); ++at) sum += static_cast<const float *>(inputs[i].data)[at];
    for (int32_t i = 0; i < n_outputs; ++i)
        for (int64_t at = 0; at < count(outputs[i]); ++at) static_cast<float *>(outputs[i].data)[at] = float(sum);
    if (sum > 100.0) return std::snprintf(error, n_error, "the stub takes sums up to 100"), 1;
    return 0;
}

int32_t sciml_backend_to_host(void *, const sciml_tensor *, void *, char *, int32_t) { return 1; }

void sciml_backend_close(void *backend) { delete static_cast<int *>(backend); }

}  // extern "C"

namespace {

// Buffers of exactly the size that the shapes say, each in its own piece of the heap.
struct Call {
    std::vector<float> stock = std::vector<float>(6, 0.1f), year = std::vector<float>(2, 0.1f);
    std::vector<float> fraction = std::vector<float>(4, -1.0f);
    sciml_tensor inputs[2]{}, output{};
    int32_t n_inputs = 2, n_outputs = 1, policy = SCIML_REFUSE;
    uint64_t outside = 0;

    Call() {
        inputs[0] = view(stock, {2, 3});
        inputs[1] = view(year, {2});
        output = view(fraction, {2, 2});
    }

    static sciml_tensor view(std::vector<float> &values, const std::vector<int64_t> &shape) {
        sciml_tensor array{};
        array.data = values.data();
        array.n_bytes = int64_t(values.size() * sizeof(float));
        array.rank = int32_t(shape.size());
        std::copy(shape.begin(), shape.end(), array.shape);
        array.dtype = SCIML_FLOAT32;
        return array;
    }
};

void report(const std::string &name, int32_t status) {
    std::printf("%s\t%d\t%s\n", name.c_str(), int(status), sciml_last_error());
}

void attempt(const std::string &name, sciml_surrogate *handle, const std::function<void(Call &)> &spoil,
             bool by_batch = false) {
    Call call;
    spoil(call);
    const auto predict = by_batch ? sciml_predict_batch : sciml_predict;
    report(name, predict(handle, call.inputs, call.n_inputs, &call.output, call.n_outputs, call.policy, &call.outside));
    std::printf("%s outside\t%d\t%g\n", name.c_str(), int(call.outside), double(call.fraction.back()));
}

void spoil_shapes(sciml_surrogate *handle) {
    constexpr int64_t huge = std::numeric_limits<int64_t>::max();
    attempt("good", handle, [](Call &) {});
    attempt("good batch", handle, [](Call &) {}, true);
    attempt("rank", handle, [](Call &c) { c.inputs[0].rank = 1; });
    attempt("negative rank", handle, [](Call &c) { c.inputs[0].rank = -1; });
    attempt("huge rank", handle, [](Call &c) { c.inputs[0].rank = 1 << 30; });
    attempt("other batch", handle, [](Call &c) { c.inputs[1].shape[0] = 1; });
    attempt("fixed dim", handle, [](Call &c) { c.inputs[0].shape[1] = 2; });
    attempt("zero batch", handle, [](Call &c) { c.inputs[0].shape[0] = c.inputs[1].shape[0] = 0; });
    attempt("negative batch", handle, [](Call &c) { c.inputs[0].shape[0] = c.inputs[1].shape[0] = -2; });
    attempt("huge batch", handle, [](Call &c) { c.inputs[0].shape[0] = c.inputs[1].shape[0] = huge; });
    attempt("batch too large", handle,
            [](Call &c) { c.inputs[0].shape[0] = c.inputs[1].shape[0] = c.output.shape[0] = 3; });
    attempt("short input", handle, [](Call &c) { c.inputs[0].n_bytes -= 1; });
    attempt("negative bytes", handle, [](Call &c) { c.inputs[0].n_bytes = -24; });
    attempt("short output", handle, [](Call &c) { c.output.n_bytes -= 4; });
    attempt("output batch", handle, [](Call &c) { c.output.shape[0] = 1; });
}

void spoil_values(sciml_surrogate *handle) {
    attempt("dtype", handle, [](Call &c) { c.inputs[0].dtype = SCIML_FLOAT64; });
    attempt("unknown dtype", handle, [](Call &c) { c.inputs[0].dtype = 77; });
    attempt("device", handle, [](Call &c) { c.inputs[0].device = SCIML_CUDA; });
    attempt("null data", handle, [](Call &c) { c.inputs[0].data = nullptr; });
    attempt("null output", handle, [](Call &c) { c.output.data = nullptr; });
    attempt("too few inputs", handle, [](Call &c) { c.n_inputs = 1; });
    attempt("too many outputs", handle, [](Call &c) { c.n_outputs = 2; });
    attempt("policy", handle, [](Call &c) { c.policy = 9; });
    attempt("nan", handle, [](Call &c) { c.stock[5] = std::nanf(""); });
    attempt("infinity", handle, [](Call &c) { c.year[0] = std::numeric_limits<float>::infinity(); });
    attempt("bounds", handle, [](Call &c) { c.stock[4] = -0.5f; });
    attempt("outside", handle, [](Call &c) { c.stock[0] = 3.0f; });
    attempt("edge", handle, [](Call &c) { c.stock.assign(6, 0.0f); c.stock[0] = 0.7f; });
    attempt("flagged", handle, [](Call &c) { c.stock.assign(6, 0.0f); c.stock[0] = 0.75f; c.policy = SCIML_FLAG; });
    attempt("bad output", handle, [](Call &c) { c.year[0] = 9.0f; });
    attempt("failed run", handle, [](Call &c) { c.year[0] = 1000.0f; c.policy = SCIML_FLAG; });
    attempt("null handle", nullptr, [](Call &) {});
}

void query(sciml_surrogate *handle) {
    sciml_field field;
    report("index", sciml_input(handle, 2, &field));
    report("negative index", sciml_output(handle, -1, &field));
    report("null field", sciml_input(handle, 0, nullptr));
    report("field", sciml_input(handle, 0, &field));
    std::printf("stock\t%d\t%s %s %s %s %d %d\n", int(field.rank), field.name, field.unit, field.dims[0], field.dims[1],
                int(field.sizes[0]), int(field.sizes[1]));
    report("null inputs", sciml_predict(handle, nullptr, 2, nullptr, 1, SCIML_REFUSE, nullptr));
}

void share(sciml_surrogate *handle) {
    std::vector<std::thread> threads;
    std::vector<int> n_wrong(8, 0);
    for (int number = 0; number < 8; ++number)
        threads.emplace_back([&, number] {
            for (int turn = 0; turn < 200; ++turn) {
                Call call;
                if (number % 2) call.inputs[0].rank = 1;  // the error text is that of the own thread
                const int32_t status = sciml_predict(handle, call.inputs, 2, &call.output, 1, SCIML_REFUSE, nullptr);
                const bool told = std::strlen(sciml_last_error()) > 0;
                n_wrong[number] += number % 2 ? (status != SCIML_BAD_RANK || !told) : (status != SCIML_OK || told);
            }
        });
    for (auto &thread : threads) thread.join();
    int total = 0;
    for (const int n : n_wrong) total += n;
    std::printf("threads\t%d\t\n", total);
}

}  // namespace

int main(int argc, char **argv) {
    sciml_surrogate *handle = nullptr;
    report("null folder", sciml_open(nullptr, 1, &handle));
    report("null place", sciml_open(argv[1], 1, nullptr));
    report("no runner", sciml_open(argv[1], 0, &handle));
    report("fixed", sciml_open(argv[2], 1, &handle));
    attempt("one sample", handle, [](Call &) {});
    attempt("one by one", handle, [](Call &) {}, true);
    sciml_close(handle);
    for (int i = 3; i < argc; ++i) {
        const std::string path = argv[i];
        report(path.substr(path.rfind('/') + 1), sciml_open(argv[i], 1, &handle));
        if (handle) std::printf("handle\t%d\tnot null\n", i);
    }
    report("open", sciml_open(argv[1], 1, &handle));
    if (!handle) return 1;
    spoil_shapes(handle);
    spoil_values(handle);
    query(handle);
    share(handle);
    sciml_close(handle);
    sciml_close(nullptr);
}
