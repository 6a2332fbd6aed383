"""The file formats of a bundle: manifest, archive, zstd frames, signatures, receipts, and reading them."""
