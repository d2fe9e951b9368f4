"""What builds the documentation site: its hooks, and the pages that are made from the code."""
