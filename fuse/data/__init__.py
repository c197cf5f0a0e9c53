"""Which segments a run learns from and is tested on, in which batches, seen through which modalities."""
