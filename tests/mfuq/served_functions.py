"""A server of two fidelities of a function, one of them failing at some points; run by `test_urls.py`."""

from __future__ import annotations

import sys

import numpy as np
import umbridge


def truth(x, y):
    return float(np.sin(7 * x) + y**2 + 0.5 * x * y)


def cheap(x, y):
    return 0.8 * truth(x, y) + 0.3 * x - 0.2


def fragile(x, y):
    if x < 0.2:
        raise RuntimeError("no steady state")
    return truth(x, y)


class Served(umbridge.Model):
    def __init__(self, function):
        super().__init__(function.__name__)
        self.function = function

    def get_input_sizes(self, config):
        return [2]

    def get_output_sizes(self, config):
        return [1]

    def supports_evaluate(self):
        return True

    def __call__(self, parameters, config):
        return [[self.function(*parameters[0])]]


if __name__ == "__main__":
    umbridge.serve_models([Served(one) for one in (cheap, truth, fragile)], int(sys.argv[1]))
