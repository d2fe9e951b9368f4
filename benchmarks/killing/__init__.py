"""Kills processes of `mrag` at random moments of its commands, and compares what comes of it."""
