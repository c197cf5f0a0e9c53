"""The run of a plan: Ray workers read, encode and write shards, and are replaced when they die."""
