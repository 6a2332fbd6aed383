"""Building images with BuildKit, and checking beforehand that a build can work here."""
