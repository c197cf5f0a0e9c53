"""The data set manifest: a table that users write of their own clips."""
