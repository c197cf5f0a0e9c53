"""Poses from the skeleton files of NTU RGB+D, Northwestern-UCLA and UWA3D."""
