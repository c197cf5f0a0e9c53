"""Boxes of hands and objects from detections and annotations."""
