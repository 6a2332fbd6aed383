"""The engine's image store, classic or containerd: which layers it has, and reading them."""
