"""Errors, the text of messages, and locks. All other rooms use these; nothing here depends on a store."""
