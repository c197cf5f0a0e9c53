"""The table of segments: ids, splits, labels and groups."""
