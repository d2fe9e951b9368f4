"""pyarrow: where documents come from."""
