"""What a data set is."""
