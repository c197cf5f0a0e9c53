"""What a report reads: run folders, methods, published figures."""
