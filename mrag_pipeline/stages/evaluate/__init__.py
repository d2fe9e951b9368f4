"""Labelled queries asked of a version, and what they found."""
