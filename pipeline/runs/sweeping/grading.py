"""Keys of scores: names of all that a video's scores under a setting depend on."""

import hashlib
from collections.abc import Mapping

from ....store import FeatureChoice, Unit
from ....store.durable import canonical_json
from ...tasks.base import EvalCase
from .space import Setting

__all__ = ["score_key"]

#: Part of every key: scores that were computed in another way are not mixed with these.
_SCORING = 1


def score_key(grading: EvalCase, setting: Setting, units: Mapping[FeatureChoice, Unit]) -> str:
    """Return a name of all that a video's scores under a setting depend on: features, what is given, the truth."""
    determining = {
        "scoring": _SCORING,
        "features": [[units[choice].content_hash, weight] for choice, weight in setting.parts],
        **grading.key,
        **setting.propagation.to_json(),
    }
    return hashlib.sha256(canonical_json(determining)).hexdigest()
