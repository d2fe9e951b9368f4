"""The vectors of an Arrow table that crosses a port. Shape legend: N rows, D dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def vector_matrix(column: pa.ChunkedArray) -> NDArray[np.floating]:
    """A column of N lists of one width as (N, D), in its own number type; (0, 0) if N is 0."""
    num_rows = len(column)
    values: NDArray[np.floating] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(num_rows, -1) if num_rows else values.reshape(0, 0)
