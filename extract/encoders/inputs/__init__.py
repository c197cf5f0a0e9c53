"""What is done to media before a network sees them: augmentation, images, spectrograms."""
