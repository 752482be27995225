"""The feature cache on disk: layout, integrity, lazy reading. Imports no torch.

Names are imported at first use: a wrong option is answered before zarr and dask are loaded.

>>> from ted.store import open_cache, FeatureChoice
>>> cache = open_cache("cache")
>>> cache.videos()
>>> unit = cache.find("davis", "camel", FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]"))
>>> unit.features  # dask array (frame, y, x, channel)
>>> unit.provenance
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .artifacts.affinities import AffinitySpec, AffinityUnit, AffinityWriter
    from .artifacts.features import Unit, UnitWriter
    from .artifacts.generic import HEAD_WEIGHTS, INTERPOLATION, TOKEN, Artifact, ArtifactSpec, ArtifactWriter
    from .artifacts.registry import ArtifactKind, artifact_kinds, kind_at, register_artifact
    from .cache import AffinityEntry, ArtifactEntry, Cache, Entry, open_cache
    from .claims import is_claimed
    from .codecs import FLOAT16, FeatureCodec, parse_codec, register_codec
    from .copying import Transfer, copy_unit, plan_transfer
    from .integrity import Verdict, demote, open_unit, tidy_unit, verify_unit
    from .layout import ArrayLayout, printable, safe_name, tap_name, video_folder
    from .leftovers import Leftover, find_leftovers, reclaim
    from .readers import ReadLock
    from .request import FeatureChoice, FeatureRequest, UnitSpec, fits, most_faithful
    from .stored import StoredUnit

__all__ = [
    "FLOAT16",
    "HEAD_WEIGHTS",
    "INTERPOLATION",
    "TOKEN",
    "AffinityEntry",
    "AffinitySpec",
    "AffinityUnit",
    "AffinityWriter",
    "ArrayLayout",
    "Artifact",
    "ArtifactEntry",
    "ArtifactKind",
    "ArtifactSpec",
    "ArtifactWriter",
    "Cache",
    "Entry",
    "FeatureChoice",
    "FeatureCodec",
    "FeatureRequest",
    "Leftover",
    "ReadLock",
    "StoredUnit",
    "Transfer",
    "Unit",
    "UnitSpec",
    "UnitWriter",
    "Verdict",
    "artifact_kinds",
    "copy_unit",
    "demote",
    "find_leftovers",
    "fits",
    "is_claimed",
    "kind_at",
    "most_faithful",
    "open_cache",
    "open_unit",
    "parse_codec",
    "plan_transfer",
    "printable",
    "reclaim",
    "register_artifact",
    "register_codec",
    "safe_name",
    "tap_name",
    "tidy_unit",
    "verify_unit",
    "video_folder",
]

__getattr__ = lazy_names(__name__, __file__)
