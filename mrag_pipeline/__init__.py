"""Multi-Head RAG: one collection per attention head, and a vote among them."""

__version__ = "0.1.0"
