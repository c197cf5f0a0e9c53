"""Create stores and write tokens to them, one shard at a time."""
