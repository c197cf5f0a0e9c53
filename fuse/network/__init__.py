"""The fusion network: encode, handle missing modalities, fuse, classify."""
