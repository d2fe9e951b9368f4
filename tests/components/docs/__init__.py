"""What the documentation site is made of."""
