"""Keys for clients of a pipeline API: the file of those that it accepts, and the one that a client sends."""
