"""What `extract` and `fuse` share and the store does not need: options, the connection to Ray, the oracle's world."""
