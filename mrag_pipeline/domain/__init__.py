"""Pure decisions: the standard library and numpy only."""
