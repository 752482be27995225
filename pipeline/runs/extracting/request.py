"""The request of an extraction, which all processes of a run share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....extract.backbones import BACKBONES, backbone_info
from ....extract.settings import DEFAULT_OPTIONS, BackboneOptions, ExtractionSettings
from ....extract.weights import split_random
from ....store import FLOAT16, FeatureCodec
from ....store.errors import ConfigError
from ...choices.features import BackboneJob
from ...datasets.video import Video


@dataclass(frozen=True, kw_only=True)
class Model:
    """A backbone to load, apart from the device; the attributes are those of `ExtractionRequest`."""

    name: str
    weights: str | None
    dtype: str
    options: BackboneOptions


@dataclass(frozen=True, kw_only=True)
class Share:
    """One backbone's features of one video: the unit of work that is extracted, claimed and resumed as a whole."""

    job: BackboneJob
    video: Video

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.video.name} {self.job.backbone}"


@dataclass(frozen=True, kw_only=True)
class ExtractionRequest:
    """What to extract, how, and where to. Processes receive it pickled.

    Attributes
    ----------
    cache
        Folder of the cache.
    shares
        The videos and backbones.
    weights
        Path or hub name of the weights, by backbone; without an entry, the published ones in the hub cache.
    settings
        How features are computed: frame size, clips, noise.
    dtype
        Precision, a name of `DTYPES`.
    options
        Options of the backbones, such as the prompt.
    codec
        The codec that features are stored with.
    overwrite
        Whether to compute complete units again.
    adapt
        Whether to fit the batch size to the memory.
    """

    cache: Path
    shares: tuple[Share, ...]
    weights: Mapping[str, str]
    settings: ExtractionSettings
    dtype: str = "float32"
    options: BackboneOptions = DEFAULT_OPTIONS
    codec: FeatureCodec = FLOAT16
    overwrite: bool = False
    adapt: bool = False

    def model(self, backbone: str) -> Model:
        """Return one of the backbones, to be loaded."""
        return Model(name=backbone, weights=self.weights.get(backbone), dtype=self.dtype, options=self.options)


def parse_weights(values: Sequence[str], jobs: Sequence[BackboneJob]) -> dict[str, str]:
    """Parse ``[BACKBONE=]PATH`` options; a path without a name is for the run's only backbone.

    A path may be ``random:SEED`` or ``random:SEED:PATH`` (see `load_backbone`). Weights of backbones that the run does
    not use are ignored, so that one configuration can name them all. Raises ConfigError for an unknown backbone, a
    missing name in a run with several, or random weights without a seed.
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
