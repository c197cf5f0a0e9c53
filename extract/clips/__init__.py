"""A user's own clip, encoded as the tokens of a store were."""
