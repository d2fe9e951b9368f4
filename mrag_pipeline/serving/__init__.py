"""The online query service."""
