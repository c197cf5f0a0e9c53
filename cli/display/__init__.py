"""Output of the commands: the console, tables, progress of a sweep."""
