"""Rerankers behind an HTTP address; the local cross-encoder is in `encoder/`."""
