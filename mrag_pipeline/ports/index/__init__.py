"""What an index can be asked, cut by what callers need; `VectorIndex` is all of it."""
