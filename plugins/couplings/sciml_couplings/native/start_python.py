# Runs once, when a program first opens a surrogate: find the environment, and answer the calls of backend.h.
import site

PLACES = []
for place in PLACES:
    site.addsitedir(place)

from _sciml_embedded import ffi  # noqa: E402
from sciml_couplings.embedded import answer_calls  # noqa: E402

answer_calls(ffi)
