"""Evaluation: score every subset of modalities once, and derive every protocol from that."""
