"""Teachers: cached logits of trained runs, ensembles of them, and what they learned from."""
