"""Labelled query sets: the paper's, the user's own, and the documents that belong to them."""
