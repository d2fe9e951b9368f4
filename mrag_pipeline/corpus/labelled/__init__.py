"""Labelled query sets: the paper's, with their documents, and the user's own."""
