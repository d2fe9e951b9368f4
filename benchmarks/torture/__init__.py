"""Kills, changes and breaks what fills an index and answers from it, and reports what is left."""
