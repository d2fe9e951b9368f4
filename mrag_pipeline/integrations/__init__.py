"""Retrievers for LangChain, LlamaIndex and Haystack, and a server for MCP.

One module for each, which imports it; the other modules here import none.
"""
