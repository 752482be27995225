"""Feature codecs (encodings on disk) and their registry.

>>> from ted.store.codecs import parse_codec
>>> parse_codec("pca:64").name
'pca64'
"""

from ..errors import ConfigError
from ..plugins import load_offers, offered_names
from .base import FeatureCodec, Parameters
from .bitround import BitRound
from .float16 import Float16
from .int8 import Int8
from .pca import Pca, check_components

__all__ = [
    "FLOAT16",
    "BitRound",
    "FeatureCodec",
    "Float16",
    "Int8",
    "Parameters",
    "Pca",
    "check_components",
    "parse_codec",
    "register_codec",
]

_GROUP = "ted.codecs"

_CODECS: list[type[FeatureCodec]] = [Float16, Int8, BitRound, Pca]

#: The codec that extraction writes.
FLOAT16 = Float16()


def register_codec(codec: type[FeatureCodec]) -> None:
    """Register a codec in this process.

    Installed packages offer codecs by entry points of the group ``ted.codecs``, named like the codec's family.

    Raises
    ------
    ConfigError
        When the family's name is taken.
    """
    if codec in _CODECS:
        return
    if any(known.family == codec.family for known in _CODECS):
        raise ConfigError(f"there is a codec {codec.family!r} already; choose another name")
    _CODECS.append(codec)


def parse_codec(text: str) -> FeatureCodec:
    """Parse the notation of a codec (``int8``, ``bitround:7``, ``pca:64``, ``pca:FILE``), or its name on disk.

    Raises
    ------
    ConfigError
        If no codec has this notation, or a file cannot be read.
    """
    found = _parse(text)
    if found is None:
        known = {codec.family for codec in _CODECS}
        offers = load_offers(_GROUP, lambda name: name not in known and text.startswith(name), type)
        for offer in offers:
            if not issubclass(offer, FeatureCodec):
                raise ConfigError(f"the plug-in {offer.__module__}.{offer.__qualname__} is no FeatureCodec")
            register_codec(offer)
        found = _parse(text) if offers else None
    if found is None:
        names = [codec.notation for codec in _CODECS]
        names += [name for name in offered_names(_GROUP) if name not in {codec.family for codec in _CODECS}]
        raise ConfigError(f"there is no codec {text!r} for features; there are: {', '.join(names)}")
    return found


def _parse(text: str) -> FeatureCodec | None:
    for codec in _CODECS:
        if found := codec.parse(text):
            if isinstance(found, Float16) and found.target:
                if found.target.startswith(Float16.family):
                    return None
                parse_codec(found.target)  # raises if there is no such codec
            return found
    return None
