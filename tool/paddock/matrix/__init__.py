"""Hardware, models and serving programs as data, and which of them go together."""
