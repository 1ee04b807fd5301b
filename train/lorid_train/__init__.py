"""Training of the three role adapters (needs the `train` extra)."""
