// Four lakes, three species in each, two of them fished by a trained policy: an explicit time loop around a surrogate.
//
//     dx/dt = x (1 - x) - f(x, t) x      f = 0 for the species that is not fished
//
// The policy takes stock(batch, species) and year(batch) and returns fraction(batch, fishery). Usage: harvest FOLDER
#include <array>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <vector>

#include "sciml_surrogate.h"

namespace {

constexpr int n_lake = 4, n_species = 3, n_fishery = 2, n_step = 50;

void check(int32_t status) {
    if (status != SCIML_OK) throw std::runtime_error(sciml_last_error());
}

using Surrogate = std::unique_ptr<sciml_surrogate, decltype(&sciml_close)>;

Surrogate open(const char *folder) {
    sciml_surrogate *handle = nullptr;
    check(sciml_open(folder, 1, &handle));
    return Surrogate(handle, &sciml_close);
}

sciml_tensor view(std::vector<float> &values, std::initializer_list<int64_t> shape) {
    sciml_tensor array{};
    array.data = values.data();
    array.n_bytes = static_cast<int64_t>(values.size() * sizeof(float));
    for (const int64_t n : shape) array.shape[array.rank++] = n;
    array.dtype = SCIML_FLOAT32;
    return array;
}

void run(const char *folder) {
    constexpr double dt = 0.1;
    const Surrogate policy = open(folder);
    std::vector<double> x(n_lake * n_species);
    std::vector<float> stock(x.size()), year(n_lake), fraction(n_lake * n_fishery);
    const std::array inputs{view(stock, {n_lake, n_species}), view(year, {n_lake})};
    const sciml_tensor output = view(fraction, {n_lake, n_fishery});
    for (int lake = 0; lake < n_lake; ++lake)
        for (int i = 0; i < n_species; ++i) x[lake * n_species + i] = 0.2 + 0.1 * lake + 0.05 * i;

    for (int step = 0; step < n_step; ++step) {
        stock.assign(x.begin(), x.end());
        year.assign(n_lake, static_cast<float>(step * dt));
        check(sciml_predict(policy.get(), inputs.data(), 2, &output, 1, SCIML_REFUSE, nullptr));
        for (int lake = 0; lake < n_lake; ++lake)
            for (int i = 0; i < n_species; ++i) {
                double &one = x[lake * n_species + i];
                const double f = i < n_fishery ? fraction[lake * n_fishery + i] : 0.0;
                one += dt * one * (1.0 - one - f);
            }
    }
    for (const double one : x) std::printf("%.17g\n", one);
}

}  // namespace

int main(int argc, char **argv) {
    try {
        if (argc != 2) throw std::runtime_error("usage: harvest FOLDER");
        run(argv[1]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "harvest: %s\n", error.what());
        return 1;
    }
}
