"""The pages of the documentation, and what makes the site of them."""
