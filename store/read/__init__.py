"""Read stored tokens: from shard files and chunks to numpy arrays."""
