"""Prefect flows: each file one flow."""
