"""Video retrieval by learned binary codes, and action recognition."""

__version__ = "0.1.0"
