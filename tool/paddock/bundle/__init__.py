"""Bundles: images, stack, tool and documents as files that can be carried to a host without a network.

The workshop half writes them (`export`, `delta`), the site half checks and imports them (`verify`,
`importing`, `receipt`, `rollback`). `manifest` is the format that both share; docs/bundle-format.md describes
it.
"""
