"""Where a path or a URI leads: any pyarrow filesystem, and what its errors mean."""
