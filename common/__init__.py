"""Code that `extract` and `fuse` share and the store does not need: options, plugins, Ray, the oracle's world."""
