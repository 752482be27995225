"""The feature cache on disk: layout, integrity, lazy reading. Imports no torch.

>>> from ted.store import open_cache, FeatureChoice
>>> cache = open_cache("cache")
>>> cache.videos()
>>> unit = cache.find("davis", "camel", FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]"))
>>> unit.features  # dask array (frame, y, x, channel)
>>> unit.provenance
"""

from .cache import Cache, Entry, FeatureChoice, open_cache
from .integrity import Verdict, verify_unit
from .request import FeatureRequest, UnitSpec
from .unit import Unit
from .writer import UnitWriter

__all__ = [
    "Cache",
    "Entry",
    "FeatureChoice",
    "FeatureRequest",
    "Unit",
    "UnitSpec",
    "UnitWriter",
    "Verdict",
    "open_cache",
    "verify_unit",
]
