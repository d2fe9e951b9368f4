"""What is recorded of requests: metrics, log lines, traces."""
