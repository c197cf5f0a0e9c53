"""What a store consists of on disk: names, metadata, shards, small arrays, reports."""
