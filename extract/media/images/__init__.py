"""Frames, depth and optical flow from folders of numbered image files, and from images packed into HDF5."""
