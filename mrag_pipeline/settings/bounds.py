"""Bounds that settings state beside their type; the config file is checked against them.

They are annotations: a dataclass made in Python is not checked, one read from a config file is.
"""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Lt

Count = Annotated[int, Ge(0)]  # from 0 up
PositiveCount = Annotated[int, Gt(0)]
Amount = Annotated[float, Ge(0.0), Lt(math.inf)]  # from 0 up
PositiveAmount = Annotated[float, Gt(0.0), Lt(math.inf)]
Share = Annotated[float, Interval(ge=0.0, le=1.0)]
