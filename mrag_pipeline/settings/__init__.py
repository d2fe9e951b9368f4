"""The config's tables, one file each: plain dataclasses with their bounds. Readable by any room."""
