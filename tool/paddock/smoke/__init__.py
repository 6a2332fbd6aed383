"""The functional check of a running stack."""
