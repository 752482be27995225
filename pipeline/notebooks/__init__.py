"""API of the notebooks: a small cache, its features grouped by how they were computed, ablations, measures."""

from .ablation import Score, ablate
from .collection import Collection, make_sample, open_collection
from .identity import own_object_shares
from .recipes import Feature, Recipe, find_recipes

__all__ = [
    "Collection",
    "Feature",
    "Recipe",
    "Score",
    "ablate",
    "find_recipes",
    "make_sample",
    "open_collection",
    "own_object_shares",
]
