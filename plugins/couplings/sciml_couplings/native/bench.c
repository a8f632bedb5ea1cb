/* CPU time of one call: the median over rounds of many. Usage: bench FOLDER ROUNDS CALLS SIZE; prints microseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sciml_surrogate.h"

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One array of a field, its free dimensions of one size, filled with one half. */
static sciml_tensor array_of(const sciml_field *field, int64_t size) {
    sciml_tensor array = {.rank = field->rank, .dtype = field->dtype, .device = field->device};
    int64_t n = 1;
    for (int axis = 0; axis < field->rank; ++axis) {
        array.shape[axis] = field->sizes[axis] < 0 ? size : field->sizes[axis];
        n *= array.shape[axis];
    }
    array.n_bytes = n * (field->dtype == SCIML_FLOAT32 ? 4 : 8);
    array.data = malloc((size_t)array.n_bytes);
    for (int64_t i = 0; i < n; ++i)
        if (field->dtype == SCIML_FLOAT32)
            ((float *)array.data)[i] = 0.5f;
        else
            ((double *)array.data)[i] = 0.5;
    return array;
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: bench FOLDER ROUNDS CALLS SIZE\n"), 2;
    const int n_round = atoi(argv[2]), n_call = atoi(argv[3]), size = atoi(argv[4]);
    sciml_surrogate *surrogate = NULL;
    sciml_tensor inputs[SCIML_MAX_FIELDS], outputs[SCIML_MAX_FIELDS];
    sciml_field field;
    if (sciml_open(argv[1], 1, &surrogate)) return fprintf(stderr, "%s\n", sciml_last_error()), 1;
    const int n_in = sciml_n_inputs(surrogate), n_out = sciml_n_outputs(surrogate);
    for (int i = 0; i < n_in; ++i) sciml_input(surrogate, i, &field), inputs[i] = array_of(&field, size);
    for (int i = 0; i < n_out; ++i) sciml_output(surrogate, i, &field), outputs[i] = array_of(&field, size);
    if (sciml_predict(surrogate, inputs, n_in, outputs, n_out, SCIML_FLAG, NULL))  /* the first call allocates */
        return fprintf(stderr, "%s\n", sciml_last_error()), 1;
    double *each = malloc((size_t)n_round * sizeof *each);
    for (int round = 0; round < n_round; ++round) {
        const double start = cpu_seconds();
        for (int call = 0; call < n_call; ++call)
            if (sciml_predict(surrogate, inputs, n_in, outputs, n_out, SCIML_FLAG, NULL))
                return fprintf(stderr, "%s\n", sciml_last_error()), 1;
        each[round] = (cpu_seconds() - start) / n_call;
    }
    qsort(each, (size_t)n_round, sizeof *each, ascending);
    printf("%.3f\n", 1e6 * each[n_round / 2]);
    sciml_close(surrogate);
    return 0;
}
