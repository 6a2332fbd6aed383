"""Running a stack from its bundle alone, in an engine of its own."""
