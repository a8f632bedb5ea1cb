"""What the fishery plugin registers; nothing heavy is imported here."""

from __future__ import annotations

SCIML_API = ">=1,<2"
