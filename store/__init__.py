"""The feature cache on disk: layout, integrity, lazy reading. Imports no torch.

>>> from ted.store import open_cache, FeatureChoice
>>> cache = open_cache("cache")
>>> cache.videos()
>>> unit = cache.find("davis", "camel", FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]"))
>>> unit.features  # dask array (frame, y, x, channel)
>>> unit.provenance
"""

from .affinities import AffinitySpec
from .affinity_unit import AffinityUnit
from .affinity_writer import AffinityWriter
from .cache import Cache, open_cache
from .choice import FeatureChoice
from .codecs import FLOAT16, FeatureCodec, parse_codec, register_codec
from .entries import AffinityEntry, Entry
from .integrity import Verdict, verify_unit
from .request import FeatureRequest, UnitSpec
from .unit import Unit
from .writer import UnitWriter

__all__ = [
    "FLOAT16",
    "AffinityEntry",
    "AffinitySpec",
    "AffinityUnit",
    "AffinityWriter",
    "Cache",
    "Entry",
    "FeatureChoice",
    "FeatureCodec",
    "FeatureRequest",
    "Unit",
    "UnitSpec",
    "UnitWriter",
    "Verdict",
    "open_cache",
    "parse_codec",
    "register_codec",
    "verify_unit",
]
