#include "checks.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

namespace sciml {
namespace {

const char *const MAGIC = "sciml-surrogate-c";

[[noreturn]] void fail(int32_t status, const std::string &text) { throw Failure{status, text}; }

std::vector<std::string> split(const std::string &line) {
    std::vector<std::string> words;
    std::size_t from = 0;
    for (std::size_t at = 0; (at = line.find('\t', from)) != std::string::npos; from = at + 1)
        words.push_back(line.substr(from, at - from));
    words.push_back(line.substr(from));
    return words;
}

// Numbers are read without the locale: a program in a German one must not read 0,5.
template <class Number>
Number number(const std::string &word, const std::string &where) {
    Number value{};
    const char *end = word.data() + word.size();
    const auto found = std::from_chars(word.data(), end, value);
    if (found.ec != std::errc() || found.ptr != end)
        fail(SCIML_BAD_PACKAGE, where + ": expected a number, got '" + word + "'; export the surrogate again");
    return value;
}

uint32_t crc32(const std::string &data) {
    uint32_t crc = 0xffffffffu;
    for (const unsigned char byte : data) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

std::string read_file(const std::string &path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) fail(SCIML_NO_FILE, path + ": expected a readable file, got none; give a folder of sciml export");
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
}

std::string shape_text(const sciml_tensor &array) {
    std::string text = "(";
    for (int32_t axis = 0; axis < array.rank; ++axis)
        text += (axis ? ", " : "") + std::to_string(array.shape[axis]);
    return text + ")";
}

// Reads the lines of a spec into it; each keyword has its own number of words.
class Reader {
public:
    Reader(Spec &spec, std::string path) : spec_(spec), path_(std::move(path)) {}

    void read(const std::string &line) {
        const auto words = split(line);
        const std::string &key = words[0];
        ++n_lines_;
        if (n_lines_ == 1) return head(words);
        if (ended_) bad(line);
        if (key == "dtype" && words.size() == 2) return type(words[1]);
        if (key == "device" && words.size() == 2 && (words[1] == "cpu" || words[1] == "cuda"))
            return void(spec_.device = words[1] == "cuda" ? SCIML_CUDA : SCIML_CPU);
        if (key == "processor" && words.size() == 2) return void(spec_.processor = words[1]);
        if (key == "package" && words.size() == 4) return package(words);
        if (key == "batch" && words.size() == 2) return void(spec_.batch = words[1]);
        if (key == "dim" && words.size() == 5) return dim(words);
        if ((key == "input" || key == "output") && words.size() >= 4) return field(words);
        if ((key == "bounds" || key == "domain") && last_ && words.size() >= 3 && words.size() % 2 == 1)
            return box(words);
        if (key == "end" && words.size() == 2 && number<int64_t>(words[1], path_) == n_lines_ - 1)
            return void(ended_ = true);
        bad(line);
    }

    void finish() {
        if (!ended_ || !spec_.dtype || spec_.package.empty() || spec_.inputs.empty() || spec_.outputs.empty())
            fail(SCIML_BAD_PACKAGE, path_ + ": expected a complete spec, got one cut short; copy the folder again");
        spec_.dim(spec_.batch);
    }

private:
    void head(const std::vector<std::string> &words) {
        if (words[0] != MAGIC || words.size() != 2)
            fail(SCIML_BAD_PACKAGE, path_ + ": expected a file that begins with '" + MAGIC + "', got something else");
        if (words[1] != std::to_string(SCIML_ABI_VERSION))
            fail(SCIML_BAD_VERSION, path_ + ": expected version " + std::to_string(SCIML_ABI_VERSION) + ", got " +
                                        words[1] + "; export the surrogate again or link a matching library");
    }

    void type(const std::string &word) {
        if (word != "float32" && word != "float64") bad(word);
        spec_.dtype = word == "float32" ? SCIML_FLOAT32 : SCIML_FLOAT64;
    }

    void package(const std::vector<std::string> &words) {
        if (words[1].find('/') != std::string::npos) bad(words[1]);
        spec_.package = words[1];
        spec_.n_bytes = number<int64_t>(words[2], path_);
        spec_.crc = number<uint32_t>(words[3], path_);
    }

    void dim(const std::vector<std::string> &words) {
        const Dim found{words[1], number<int64_t>(words[2], path_), number<int64_t>(words[3], path_),
                        number<int64_t>(words[4], path_)};
        if (found.size < -1 || found.least < 0) bad(words[1]);
        spec_.dims.push_back(found);
    }

    void field(const std::vector<std::string> &words) {
        Field found{words[1], words[2], words[3] == "1", {}, {}, {}};
        for (std::size_t i = 4; i < words.size(); ++i) found.dims.push_back(spec_.dim(words[i]));
        auto &fields = words[0] == "input" ? spec_.inputs : spec_.outputs;
        if (found.dims.size() > SCIML_MAX_RANK || fields.size() >= SCIML_MAX_FIELDS) bad(words[1]);
        fields.push_back(found);
        last_ = &fields.back();
    }

    void box(const std::vector<std::string> &words) {
        auto &region = words[0] == "bounds" ? last_->bounds : last_->domain;
        const std::size_t n = (words.size() - 1) / 2;
        Box found;
        for (std::size_t i = 0; i < n; ++i) {
            found.low.push_back(number<double>(words[1 + i], path_));
            found.high.push_back(number<double>(words[1 + n + i], path_));
        }
        // A vector lies along the last dimension, whose size therefore has to be known.
        const bool fits = n == 1 || (!last_->dims.empty() && spec_.dims[last_->dims.back()].size == int64_t(n));
        if (!fits || (!region.empty() && region[0].low.size() != n)) bad(last_->name);
        region.push_back(found);
    }

    [[noreturn]] void bad(const std::string &line) const {
        fail(SCIML_BAD_PACKAGE, path_ + ": expected a line of the format in line " + std::to_string(n_lines_) +
                                    ", got '" + line + "'; export the surrogate again");
    }

    Spec &spec_;
    std::string path_;
    int64_t n_lines_ = 0;
    Field *last_ = nullptr;
    bool ended_ = false;
};

void check_array(const Spec &spec, const Field &field, const sciml_tensor &array, const std::string &where) {
    const int32_t rank = static_cast<int32_t>(field.dims.size());
    if (array.rank != rank)
        fail(SCIML_BAD_RANK, where + ": expected " + std::to_string(rank) + " dimensions, got " +
                                 std::to_string(array.rank) + (array.rank < 0 ? " (not contiguous)" : ""));
    if (array.dtype != spec.dtype)
        fail(SCIML_BAD_DTYPE, where + ": expected " + (spec.dtype == SCIML_FLOAT32 ? "float32" : "float64") +
                                  ", got type " + std::to_string(array.dtype) + "; convert the array");
    if (array.device != spec.device)
        fail(SCIML_BAD_DTYPE, where + ": expected an array on device " + std::to_string(spec.device) + ", got " +
                                  std::to_string(array.device) + "; copy the array there");
    if (!array.data) fail(SCIML_BAD_ARGUMENT, where + ": expected data, got a null pointer");
}

// Fill in the sizes that `array` gives to free dimensions, and compare with what is known.
void match(const Spec &spec, const Field &field, const sciml_tensor &array, const std::string &where, bool any_batch,
           std::vector<int64_t> &sizes) {
    for (std::size_t axis = 0; axis < field.dims.size(); ++axis) {
        const Dim &dim = spec.dims[field.dims[axis]];
        int64_t &known = sizes[field.dims[axis]];
        const int64_t given = array.shape[axis];
        const bool is_free = dim.size < 0 || (any_batch && dim.name == spec.batch);
        if (known < 0 && is_free) {
            if (given < dim.least || (dim.most >= 0 && given > dim.most && dim.size < 0))
                fail(SCIML_BAD_SHAPE, where + ": expected at least " + std::to_string(dim.least) +
                                          (dim.most < 0 ? "" : " and at most " + std::to_string(dim.most)) +
                                          " along '" + dim.name + "', got shape " + shape_text(array));
            known = given;
        }
        const int64_t wanted = known < 0 ? dim.size : known;
        if (given != wanted)
            fail(SCIML_BAD_SHAPE, where + ": expected " + std::to_string(wanted) + " along '" + dim.name +
                                      "', got shape " + shape_text(array));
    }
    int64_t room = array.n_bytes / (spec.dtype == SCIML_FLOAT32 ? 4 : 8);
    for (int32_t axis = 0; axis < array.rank; ++axis) {
        const int64_t extent = std::max<int64_t>(array.shape[axis], 1);
        room /= extent;  // by division, which cannot overflow
    }
    if (array.n_bytes < 0 || room < 1)
        fail(SCIML_BUFFER_TOO_SMALL, where + ": expected room for shape " + shape_text(array) + ", got " +
                                         std::to_string(array.n_bytes) + " bytes");
}

template <class Real>
bool lies_in(const Region &region, const Real *point) {
    for (const Box &box : region) {
        bool inside = true;
        for (std::size_t i = 0; inside && i < box.low.size(); ++i)
            inside = double(point[i]) >= box.low[i] && double(point[i]) <= box.high[i];
        if (inside) return true;
    }
    return false;
}

// Return the index of the first point outside the region, or -1; points with NaN are left out.
template <class Real>
int64_t first_outside(const Region &region, const Real *values, int64_t n) {
    if (region.empty()) return -1;
    const int64_t width = static_cast<int64_t>(region[0].low.size());
    for (int64_t at = 0; at + width <= n; at += width) {
        if (lies_in(region, values + at)) continue;
        bool known = true;
        for (int64_t i = 0; i < width; ++i) known = known && !std::isnan(values[at + i]);
        if (known) return at;
    }
    return -1;
}

template <class Real>
bool check_reals(const Field &field, const Real *values, int64_t n, const std::string &where, bool is_output) {
    const auto got = [&](int64_t at) { return ", got " + std::to_string(values[at]) + " at number " + std::to_string(at); };
    for (int64_t at = 0; at < n; ++at)
        if (!std::isfinite(values[at]) && !(field.missing && std::isnan(values[at])))
            fail(is_output ? SCIML_BAD_OUTPUT : SCIML_NOT_FINITE, where + ": expected finite numbers" + got(at));
    if (const int64_t at = first_outside(field.bounds, values, n); at >= 0)
        fail(is_output ? SCIML_BAD_OUTPUT : SCIML_OUT_OF_BOUNDS,
             where + ": expected values within the physical limits in " + field.unit + got(at));
    return first_outside(field.domain, values, n) >= 0;
}

}  // namespace

std::size_t Spec::dim(const std::string &name) const {
    for (std::size_t i = 0; i < dims.size(); ++i)
        if (dims[i].name == name) return i;
    fail(SCIML_BAD_PACKAGE, "surrogate.spec: expected a line for the dimension '" + name + "', got none");
}

bool Spec::batch_is_fixed() const { return dims[dim(batch)].size >= 0; }

Spec read_spec(const std::string &folder) {
    Spec spec;
    Reader reader(spec, folder + "/surrogate.spec");
    std::istringstream stream(read_file(folder + "/surrogate.spec"));
    for (std::string line; std::getline(stream, line);) reader.read(line);
    reader.finish();
    return spec;
}

void check_package(const std::string &folder, const Spec &spec) {
    const std::string path = folder + "/" + spec.package, data = read_file(path);
    if (static_cast<int64_t>(data.size()) != spec.n_bytes || crc32(data) != spec.crc)
        fail(SCIML_BAD_PACKAGE, path + ": expected the " + std::to_string(spec.n_bytes) +
                                    " bytes that the spec was written with, got others; copy the folder again");
#if defined(__x86_64__)
    if ((spec.processor == "AVX512" && !__builtin_cpu_supports("avx512f")) ||
        (spec.processor == "AVX2" && !__builtin_cpu_supports("avx2")))
        fail(SCIML_BAD_PACKAGE, path + ": expected a processor with " + spec.processor +
                                    ", for which it was compiled, got another; export the surrogate on this machine");
#endif
}

std::vector<int64_t> check_shapes(const Spec &spec, const sciml_tensor *inputs, int32_t n_inputs,
                                  const sciml_tensor *outputs, int32_t n_outputs, bool any_batch) {
    std::vector<int64_t> sizes(spec.dims.size(), -1);
    const auto check = [&](const std::vector<Field> &fields, const sciml_tensor *arrays, int32_t n, const char *kind) {
        if (!arrays || n != static_cast<int32_t>(fields.size()))
            fail(SCIML_BAD_ARGUMENT, std::string("predict: expected ") + std::to_string(fields.size()) + " " + kind +
                                         "s, got " + (arrays ? std::to_string(n) : "a null pointer"));
        for (int32_t i = 0; i < n; ++i) {
            const std::string where = std::string(kind) + " '" + fields[i].name + "'";
            check_array(spec, fields[i], arrays[i], where);
            match(spec, fields[i], arrays[i], where, any_batch, sizes);
        }
    };
    check(spec.inputs, inputs, n_inputs, "input");
    check(spec.outputs, outputs, n_outputs, "output");
    return sizes;
}

bool check_values(const Spec &spec, const Field &field, const void *values, const sciml_tensor &array, bool is_output) {
    const std::string where = std::string(is_output ? "output" : "input") + " '" + field.name + "'";
    if (spec.dtype == SCIML_FLOAT32)
        return check_reals(field, static_cast<const float *>(values), n_bytes_of(array) / 4, where, is_output);
    return check_reals(field, static_cast<const double *>(values), n_bytes_of(array) / 8, where, is_output);
}

int64_t n_bytes_of(const sciml_tensor &array) {
    int64_t n = array.dtype == SCIML_FLOAT32 ? 4 : 8;
    for (int32_t axis = 0; axis < array.rank; ++axis) n *= array.shape[axis];
    return n;
}

}  // namespace sciml
