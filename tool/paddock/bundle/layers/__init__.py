"""What is in an image layer: the members of its tar, its software, and its blob as a sequence of frames."""
