"""Measures a bundle: samples drawn once, every method replayed on them, a report of it all."""
