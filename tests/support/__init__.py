"""Fakes, builders and servers that several suites share."""
