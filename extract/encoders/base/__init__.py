"""What all encoders share: what an encoder is, its line in the table, its weights, and downloads."""
