"""The service on Ray Serve: deployments, batching, the launcher."""
