"""What lies on a medium: manifest, parts, signatures, receipts."""
