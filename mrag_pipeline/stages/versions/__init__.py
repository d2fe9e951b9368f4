"""What is done with built versions: audit, repair, retire, export, import."""
