"""Who may call and how much: keys, rate limits, host and body checks."""
