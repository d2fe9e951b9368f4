"""Evaluations for people: JSON, Markdown and plots. Knows nothing of how they were found."""
