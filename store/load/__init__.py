"""Batches of tokens as torch tensors: their order, where the tokens are kept, and how a batch is put together."""
