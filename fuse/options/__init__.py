"""The options of a run: which exist, where each belongs, and how flags and files become one frozen object."""
