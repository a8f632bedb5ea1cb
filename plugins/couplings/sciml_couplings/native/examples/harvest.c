/* Four lakes, three species in each, two of them fished by a trained policy: an explicit time loop around a surrogate.
 *
 *     dx/dt = x (1 - x) - f(x, t) x      f = 0 for the species that is not fished
 *
 * The policy takes stock(batch, species) and year(batch) and returns fraction(batch, fishery). Usage: harvest FOLDER
 */
#include <stdio.h>
#include <stdlib.h>

#include "sciml_surrogate.h"

enum { N_LAKE = 4, N_SPECIES = 3, N_FISHERY = 2, N_STEP = 50 };

static void check(int32_t status) {
    if (status == SCIML_OK) return;
    fprintf(stderr, "harvest: error %d: %s\n", (int)status, sciml_last_error());
    exit(1);
}

int main(int argc, char **argv) {
    const double dt = 0.1;
    double x[N_LAKE][N_SPECIES];
    float stock[N_LAKE][N_SPECIES], year[N_LAKE], fraction[N_LAKE][N_FISHERY];
    sciml_surrogate *policy = NULL;
    const sciml_tensor inputs[] = {
        {.data = stock, .n_bytes = sizeof stock, .shape = {N_LAKE, N_SPECIES}, .rank = 2, .dtype = SCIML_FLOAT32},
        {.data = year, .n_bytes = sizeof year, .shape = {N_LAKE}, .rank = 1, .dtype = SCIML_FLOAT32},
    };
    const sciml_tensor output = {
        .data = fraction, .n_bytes = sizeof fraction, .shape = {N_LAKE, N_FISHERY}, .rank = 2, .dtype = SCIML_FLOAT32};

    if (argc != 2) return fprintf(stderr, "usage: harvest FOLDER\n"), 2;
    check(sciml_open(argv[1], 1, &policy));
    for (int lake = 0; lake < N_LAKE; ++lake)
        for (int i = 0; i < N_SPECIES; ++i) x[lake][i] = 0.2 + 0.1 * lake + 0.05 * i;

    for (int step = 0; step < N_STEP; ++step) {
        for (int lake = 0; lake < N_LAKE; ++lake) {
            year[lake] = (float)(step * dt);
            for (int i = 0; i < N_SPECIES; ++i) stock[lake][i] = (float)x[lake][i];
        }
        check(sciml_predict(policy, inputs, 2, &output, 1, SCIML_REFUSE, NULL));
        for (int lake = 0; lake < N_LAKE; ++lake)
            for (int i = 0; i < N_SPECIES; ++i) {
                const double f = i < N_FISHERY ? fraction[lake][i] : 0.0;
                x[lake][i] += dt * x[lake][i] * (1.0 - x[lake][i] - f);
            }
    }
    for (int lake = 0; lake < N_LAKE; ++lake)
        for (int i = 0; i < N_SPECIES; ++i) printf("%.17g\n", x[lake][i]);
    sciml_close(policy);
    return 0;
}
