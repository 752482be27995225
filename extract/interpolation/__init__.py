"""DINTR-style interpolation: fine-tune a diffusion network on consecutive frames, and read its attention between them.

See docs/reference/interpolation.md for what the paper states and what is reconstructed. Names are imported at first
use:

>>> from ted.extract.interpolation import InterpolationSettings, Indicator, plan_interpolation, interpolate_video
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...store.lazy import lazy_names

if TYPE_CHECKING:
    from .operators import OPERATORS, Operator, Pair, make_operator, roll_out
    from .plan import Indicator, InterpolationPlan, plan_interpolation
    from .settings import InterpolationSettings
    from .tuning import DivergedError
    from .video import InterpolationReport, TextUpdate, interpolate_video

__all__ = [
    "OPERATORS",
    "DivergedError",
    "Indicator",
    "InterpolationPlan",
    "InterpolationReport",
    "InterpolationSettings",
    "Operator",
    "Pair",
    "TextUpdate",
    "interpolate_video",
    "make_operator",
    "plan_interpolation",
    "roll_out",
]

__getattr__ = lazy_names(__name__, __file__)
