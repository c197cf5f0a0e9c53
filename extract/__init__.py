"""Stage one: run the frozen encoders once and cache their tokens. Datasets -> media -> encoders -> pipeline."""
