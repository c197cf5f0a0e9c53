"""What all readers of media share: sources, requests and readings, errors, limits, members of HDF5 files."""
