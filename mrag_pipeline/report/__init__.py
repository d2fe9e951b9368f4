"""Evaluations for people: JSON, Markdown and plots. Does not know how they were measured."""
