"""Prepare media for a network: augmentation, frames, spectrograms."""
