"""Model weights in a models directory: fetching, carrying in, checking, recording."""
