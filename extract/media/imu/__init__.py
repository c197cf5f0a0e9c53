"""Accelerometer and gyroscope from tables of numbers."""
