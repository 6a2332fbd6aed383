"""The image store of an engine, classic or containerd: which images and layers it has, and reading them."""
