"""Milvus, and exact search by numpy."""
