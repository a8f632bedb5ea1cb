"""The masks that tables of results are about stay what they are."""

import hashlib

import pytest
from sciml_solvers.gallery import NAMES, problem

# First 16 digits of the SHA-256 of the codes of the cells, seed 7.
BOX = {
    "solids": "988369f4105a87c3", "dam": "6984175d96e9c7ba", "smoke": "fa0580b419a0dd48",
    "porous": "468cae79e97fdfe6", "maze": "9d7869b8d6917d50", "jumps": "365c5996d46cf177",
    "lognormal": "365c5996d46cf177", "anisotropic": "365c5996d46cf177", "neumann": "457f7593e140834a",
    "two_components": "e89b178c591eb1fa", "empty": "365c5996d46cf177",
}  # fmt: skip
LARGE = {
    ("smoke", 64): "a4c69e3cfd0f337c", ("smoke", 128): "be38db9de90389d4",
    ("smoke", (256, 128, 128)): "ca851902578a9524",
    ("solids", 64): "526d2ebe2e9d5649", ("solids", 128): "71f942cfc80fb172",
    ("solids", (256, 128, 128)): "a8871feb5ae791c1",
    ("dam", 64): "f420c118a475821d", ("dam", 128): "2ff663831a19eff9", ("dam", (256, 128, 128)): "74540953e3d07300",
}  # fmt: skip


def digest(made):
    return hashlib.sha256(made.cells.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", NAMES)
def test_mask_of_a_box_with_three_different_sides_is_the_known_one(name):
    assert digest(problem(name, (64, 48, 32))) == BOX[name]


@pytest.mark.parametrize(("name", "shape"), LARGE)
def test_mask_of_the_published_sizes_is_the_known_one(name, shape):
    assert digest(problem(name, shape)) == LARGE[name, shape]
