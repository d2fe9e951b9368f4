"""Use cases over the ports; they know no library."""
