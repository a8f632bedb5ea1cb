"""The examples in the docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["loader", "normalize", "split"])
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(f"sciml_datasets.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
