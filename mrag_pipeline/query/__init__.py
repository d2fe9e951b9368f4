"""One question's way through one index version: cut, embed, search, filter, vote, read."""
