"""The tables of the config, a file each: plain dataclasses with bounds. Any room may read them."""
