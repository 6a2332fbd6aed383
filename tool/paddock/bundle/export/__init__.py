"""Writing a bundle, at the workshop."""
