"""Files read within limits, because anybody may have written them, and files that appear whole or not at all."""
