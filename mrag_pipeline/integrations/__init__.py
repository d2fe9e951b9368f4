"""Retrievers for LangChain, LlamaIndex and Haystack over an `Index` or a `Client`.

One module for each framework, which imports it; the other modules here import none.
"""
