"""Errors, the text of messages, and locks: what every other room of the store uses, and knows nothing of stores."""
