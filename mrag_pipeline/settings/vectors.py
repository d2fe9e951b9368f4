"""The number types that vectors may be stored in."""

from __future__ import annotations

from typing import Literal

VectorType = Literal["float32", "float16", "bfloat16"]
