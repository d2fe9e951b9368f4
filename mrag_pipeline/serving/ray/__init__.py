"""The service on Ray Serve: replicas, the backend over handles, the launcher."""
