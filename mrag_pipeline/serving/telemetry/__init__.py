"""Records requests: metrics, log lines, traces."""
