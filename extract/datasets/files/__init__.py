"""Finding and reading the files of any data set: annotations, tables, times, packed media."""
