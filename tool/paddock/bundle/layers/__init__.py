"""What is in an image layer: members of its tar, pieces, frames, software."""
