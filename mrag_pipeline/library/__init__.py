"""What a Python program uses in its own process: `Index` and `Encoder`."""
