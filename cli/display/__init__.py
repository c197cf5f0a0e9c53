"""What the commands print: the console, tables, progress of a sweep."""
