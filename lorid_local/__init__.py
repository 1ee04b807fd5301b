"""lorid: math word problems solved offline by two systems that must agree."""

__version__ = "0.1.0"
