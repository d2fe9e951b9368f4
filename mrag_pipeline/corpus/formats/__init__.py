"""A file per corpus format; `corpus/reader.py` registers them."""
