"""Kinds of units: features, affinities, and per-video artifacts of plug-ins such as a learned token.

Import public names from `ted.store`.
"""
