"""The HTTP API: routes, bodies, problems, OpenAPI. Knows no Ray."""
