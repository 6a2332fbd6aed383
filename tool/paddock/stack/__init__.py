"""A stack on its host: what its folder says, whether the host can run it, starting it, watching it."""
