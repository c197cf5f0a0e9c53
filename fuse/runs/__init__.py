"""Run folders: their files, what is in them, and who may write them."""
