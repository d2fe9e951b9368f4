"""Bounds that settings state beside their type, checked when a config file is read.

They are annotations: a dataclass made in Python is not checked.
"""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Lt

Count = Annotated[int, Ge(0)]  # 0 or more
PositiveCount = Annotated[int, Gt(0)]
Amount = Annotated[float, Ge(0.0), Lt(math.inf)]  # 0 or more
PositiveAmount = Annotated[float, Gt(0.0), Lt(math.inf)]
Share = Annotated[float, Interval(ge=0.0, le=1.0)]
ShareBelowOne = Annotated[float, Interval(ge=0.0, lt=1.0)]
