"""Data sets recorded with a Kinect (RGB, depth, skeletons): NTU RGB+D, Northwestern-UCLA, UWA3D."""
