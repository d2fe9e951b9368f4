"""Where shards are embedded: Ray actors, or this process."""
