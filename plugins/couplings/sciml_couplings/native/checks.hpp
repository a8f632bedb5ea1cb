// The spec of an exported surrogate and the check of a call against it; plain C++17 without libtorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sciml_surrogate.h"

namespace sciml {

struct Failure {
    int32_t status;
    std::string text;
};

struct Box {
    std::vector<double> low, high;
};

// A union of boxes, all with the same number of components; empty means no limit.
using Region = std::vector<Box>;

// A size of -1 is free between `least` and `most`; a `most` of -1 is no limit.
struct Dim {
    std::string name;
    int64_t size, least, most;
};

struct Field {
    std::string name, unit;
    bool missing;
    std::vector<std::size_t> dims;
    Region bounds, domain;
};

struct Spec {
    int32_t dtype = 0, device = 0;
    std::string package, processor, batch;
    int64_t n_bytes = 0;
    uint32_t crc = 0;
    std::vector<Dim> dims;
    std::vector<Field> inputs, outputs;

    std::size_t dim(const std::string &name) const;
    bool batch_is_fixed() const;
};

// Read FOLDER/surrogate.spec; a missing file, another version and anything unexpected is a Failure.
Spec read_spec(const std::string &folder);

// Compare length and checksum of the package with the spec, and the processor with the one it was compiled for.
void check_package(const std::string &folder, const Spec &spec);

// Check number, rank, type, device, dimensions and buffers of a call and return the size of each dimension of the spec.
std::vector<int64_t> check_shapes(const Spec &spec, const sciml_tensor *inputs, int32_t n_inputs,
                                  const sciml_tensor *outputs, int32_t n_outputs, bool any_batch);

// Check the values of one field, in host memory of n numbers. Returns whether they leave the training domain.
bool check_values(const Spec &spec, const Field &field, const void *values, const sciml_tensor &array, bool is_output);

// Number of bytes of an array whose shape was checked.
int64_t n_bytes_of(const sciml_tensor &array);

}  // namespace sciml
