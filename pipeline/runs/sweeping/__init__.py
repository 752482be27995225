"""Sweeps: many settings of propagation scored on the same cached features."""
