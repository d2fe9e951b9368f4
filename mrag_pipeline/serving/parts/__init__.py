"""The two parts of the service, and a backend composed of them. Knows no Ray."""
