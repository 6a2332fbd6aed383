"""Bundles: images, stack, tool and documents as files that can be carried to a host without a network.

The workshop writes them (`export`, `delta`), the site checks and imports them (`check`, `site`). Both share
`format`, which docs/reference/bundle-format.md describes.
"""
