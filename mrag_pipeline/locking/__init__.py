"""One run at a time on one index: who owns it, a lock file, and a lease in the index."""
