"""What the notebooks call: a small cache to look at, its features by how they were made, ablations, measures."""

from .ablation import Score, ablate
from .collection import Collection, open_collection
from .identity import own_object_shares
from .recipes import Feature, Recipe, find_recipes
from .sample import make_sample

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
