"""The feature cache on disk: layout, integrity, lazy reading. Imports no torch."""
