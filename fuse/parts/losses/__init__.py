"""The losses, one a file: functions of tensors. Strategies put them together."""
