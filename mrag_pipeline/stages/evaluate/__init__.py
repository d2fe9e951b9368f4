"""Runs labelled queries against a version and measures what they find."""
