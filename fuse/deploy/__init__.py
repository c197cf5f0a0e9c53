"""A trained run outside of training: predictions, exported files, challenge submissions."""
