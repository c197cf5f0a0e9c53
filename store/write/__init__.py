"""How a store is made and how tokens get into it, a shard at a time."""
