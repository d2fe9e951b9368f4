"""A file for each corpus format; `registry.py` holds a row for each."""
