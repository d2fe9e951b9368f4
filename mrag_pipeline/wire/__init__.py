"""What the service and its clients exchange over HTTP; both import it, it imports neither."""
