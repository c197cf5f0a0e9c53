"""EPIC-KITCHENS-100 and EPIC-SOUNDS, which share their media."""
