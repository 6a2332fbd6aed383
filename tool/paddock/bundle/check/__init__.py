"""Whether a bundle is whole, trusted and newer than the last one."""
