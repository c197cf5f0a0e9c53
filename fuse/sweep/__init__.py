"""Sweeps: many runs from one file, handed out by Ray Tune, each an ordinary run folder."""
