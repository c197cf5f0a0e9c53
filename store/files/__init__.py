"""Read untrusted files within limits (CSV, JSON, HDF5, text); write files that appear whole or not at all."""
