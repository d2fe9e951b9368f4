"""What each head of a version separates, and how heads changed from another version."""
