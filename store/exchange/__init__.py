"""Import from, and export to, HDF5 files and folders of .npy files."""
