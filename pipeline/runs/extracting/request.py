"""What an extraction is of: everything that all processes of a run have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ....extract.backbones import BACKBONES, backbone_info
from ....extract.settings import DEFAULT_OPTIONS, BackboneOptions, ExtractionSettings
from ....extract.weights import split_random
from ....store.errors import ConfigError
from ...choices.features import BackboneJob
from ...datasets.video import Video
from .conversion import StoredAs

__all__ = ["ExtractionRequest", "Model", "Share", "parse_weights"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """All that loading a backbone needs, apart from the device.

    Attributes
    ----------
    name
        Of the backbone.
    weights
        Path or hub name; None for the published ones in the hub cache.
    dtype
        Precision, a name of `DTYPES`.
    options
        What it may vary.
    """

    name: str
    weights: str | None
    dtype: str
    options: BackboneOptions


@dataclass(frozen=True, kw_only=True)
class Share:
    """One backbone's features of one video: what is extracted in one go, claimed and resumed together."""

    job: BackboneJob
    video: Video

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.video.name} {self.job.backbone}"


@dataclass(frozen=True, kw_only=True)
class ExtractionRequest:
    """What to extract, how, and where to. Goes to other processes.

    Attributes
    ----------
    cache
        Folder of the cache.
    shares
        The videos and backbones.
    weights
        Path or hub name of a backbone's weights; the published ones from the hub cache where absent.
    settings
        How.
    dtype
        Precision, a name of `DTYPES`.
    options
        What backbones may vary.
    store_as
        The form in which features are kept.
    overwrite
        Compute complete units again, too.
    adapt
        Fit the batch size to the memory.
    """

    cache: Path
    shares: tuple[Share, ...]
    weights: Mapping[str, str]
    settings: ExtractionSettings
    dtype: str = "float32"
    options: BackboneOptions = DEFAULT_OPTIONS
    store_as: StoredAs = field(default_factory=StoredAs)
    overwrite: bool = False
    adapt: bool = False

    def model(self, backbone: str) -> Model:
        """Return what loads one of the backbones."""
        return Model(name=backbone, weights=self.weights.get(backbone), dtype=self.dtype, options=self.options)


def parse_weights(values: Sequence[str], jobs: Sequence[BackboneJob]) -> dict[str, str]:
    """Read ``[BACKBONE=]PATH`` options; without a name, the path is for the run's only backbone.

    In the place of a path may stand ``random:SEED`` or ``random:SEED:PATH`` (see `load_backbone`). Weights of backbones
    that the run does not use are ignored: one configuration can name all that a person has.

    Raises
    ------
    ConfigError
        For an unknown backbone, no name where the run uses several, or random weights without a seed.
    """
    names = list(dict.fromkeys(job.backbone for job in jobs))
    for name in names:
        backbone_info(name)
    weights: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if equals and path and name in BACKBONES:
            split_random(path)
            weights[name] = path
        elif len(names) == 1 and (split_random(value)[0] is not None or not (equals and "/" not in name)):
            weights[names[0]] = value
        else:
            raise ConfigError(
                f"--weights {value!r}: give BACKBONE=PATH with one of the backbones {', '.join(BACKBONES)}"
            )
    return weights
