"""The parts that strategies are put together from, each beside its own options."""
