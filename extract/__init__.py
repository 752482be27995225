"""Stage 1: compute diffusion features of video frames, and write them to the cache.

Names are imported at first use, so that `import ted.extract` loads no library:

>>> from ted.extract import load_backbone, plan_video, extract_video
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..store.lazy import lazy_names

if TYPE_CHECKING:
    from .backbones import BACKBONES, BackboneInfo, backbone_info, load_backbone, register_backbone
    from .backbones.base import Backbone
    from .frame_size import FrameSize
    from .frames import FrameSource, ImageFrames, SelectedFrames, VideoFrames
    from .model_folder import ModelFolder
    from .noising import parse_noising, register_noising
    from .noising.base import CleanClip, Noising, NoisyClip
    from .noising.schedules import EdmSchedule, NoiseSchedule, Schedule
    from .plan import VideoPlan, plan_video
    from .settings import BackboneOptions, ExtractionSettings
    from .small_models import make_small
    from .taps import Tap
    from .weights import PublishedWeights
    from .worker import ExtractionReport, VideoTask, extract_video, extract_videos

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneInfo",
    "BackboneOptions",
    "CleanClip",
    "EdmSchedule",
    "ExtractionReport",
    "ExtractionSettings",
    "FrameSize",
    "FrameSource",
    "ImageFrames",
    "ModelFolder",
    "NoiseSchedule",
    "Noising",
    "NoisyClip",
    "PublishedWeights",
    "Schedule",
    "SelectedFrames",
    "Tap",
    "VideoFrames",
    "VideoPlan",
    "VideoTask",
    "backbone_info",
    "extract_video",
    "extract_videos",
    "load_backbone",
    "make_small",
    "parse_noising",
    "plan_video",
    "register_backbone",
    "register_noising",
]

__getattr__ = lazy_names(__name__, __file__)
