"""Shard folders on any pyarrow filesystem."""
