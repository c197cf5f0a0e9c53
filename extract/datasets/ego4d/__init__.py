"""The parts of Ego4D, which share their media: Ego4D-AR and MMG-Ego4D."""
