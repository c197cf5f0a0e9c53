"""Steps taken at test time, on the very segments to be predicted."""
