"""What a unit of features is: the request that determines its values, and its digest."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .codecs import FeatureCodec, parse_codec
from .durable import canonical_json
from .errors import ConfigError, SchemaError
from .kinds import FEATURES, check_codec, check_kind, feature_kind
from .layout import SCHEMA_VERSION, UnitKind, unit_folder

__all__ = ["FeatureRequest", "UnitSpec"]


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """All that determines a backbone's features of one video, at every timestep and tap.

    Paths, host, time, device, threads, batch size and versions are not part of it: they go to the run record.

    Attributes
    ----------
    video
        Name of the video: it keys the noise.
    frames
        SHA-256 of the frames as encoded on disk, and of how they were chosen.
    backbone
        Name of the backbone.
    weights
        Identity of the weights: ``"sha256:..."``, or ``"random:SEED:sha256:..."`` of an untrained network.
    frame_size
        (height, width) in pixels to which frames were resized.
    clip_length, clip_overlap
        Frames that the UNet saw at once, and frames shared by neighbouring clips.
    overlap_rule
        What became of a frame that several clips cover: ``"first"`` or ``"mean"``.
    conditioning
        What the UNet was told beside the noisy frames, as JSON values.
    ensemble
        Noise draws averaged.
    seed
        Seed of the noise.
    noise
        Name of the rule that turns the seed into noise.
    compute_dtype
        Precision of the UNet: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
    """

    video: str
    frames: str
    backbone: str
    weights: str
    frame_size: tuple[int, int]
    clip_length: int = 1
    clip_overlap: int = 0
    conditioning: Mapping[str, Any] = field(default_factory=dict)
    ensemble: int = 1
    seed: int = 0
    noise: str = "none"
    compute_dtype: str = "float32"
    overlap_rule: str = "first"

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON values; the overlap rule ``"first"``, as in all requests once, is left out."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        if self.overlap_rule == "first":
            del values["overlap_rule"]
        return values | {"frame_size": list(self.frame_size), "conditioning": dict(self.conditioning)}

    def field_text(self, field: str) -> str:
        """Return a field as text: ``"480x832"`` for the frame size, JSON for the conditioning.

        Raises
        ------
        ConfigError
            For an unknown field.
        """
        names = [item.name for item in dataclasses.fields(self)]
        if field not in names:
            raise ConfigError(f"a request has no field {field!r}; it has: {', '.join(names)}")
        if field == "frame_size":
            return "x".join(map(str, self.frame_size))
        value = getattr(self, field)
        return str(value) if isinstance(value, str | int) else canonical_json(dict(value)).decode()

    def differing_fields(self, other: "FeatureRequest") -> set[str]:
        """Return the names of the fields in which another request differs."""
        return {item.name for item in dataclasses.fields(self) if getattr(self, item.name) != getattr(other, item.name)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FeatureRequest":
        """Build a request from what `to_json` gave; raises SchemaError when it is something else."""
        try:
            return cls(**{**values, "frame_size": tuple(values["frame_size"])})
        except (TypeError, KeyError, ValueError) as error:
            raise SchemaError(
                f"the request recorded in the cache is not one that this version knows: {error}"
            ) from error

    def digest(self) -> str:
        """Return the SHA-256 of the request's canonical JSON, 64 hex digits."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()


@dataclass(frozen=True, kw_only=True)
class UnitSpec:
    """One feature unit: a request at one timestep and tap, in one form, of one dataset's video.

    Attributes
    ----------
    dataset
        Name of the dataset.
    request
        What determines the features.
    timestep
        tau, as the model's training counts it.
    tap
        The place in the UNet that is read, for example ``"up_blocks[2]"``.
    form
        Name of the codec that the features are stored with.
    frame_names
        One name a frame; results are written under these.
    source_size
        (height, width) in pixels of the frames before resizing.
    source
        Of features that were converted: the content hash of the float16 unit that they were made from; else None.
    alpha_bar
        Clean share of the power of what the UNet saw, in [0, 1]; None without noise, and where it was not recorded.
        It follows from the weights and the timestep, and tells no units apart.
    """

    dataset: str
    request: FeatureRequest
    timestep: int
    tap: str
    frame_names: tuple[str, ...]
    source_size: tuple[int, int]
    form: str = "float16"
    source: str | None = None
    alpha_bar: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        # Also not NaN, which canonical JSON does not have.
        if self.alpha_bar is not None and not 0 <= self.alpha_bar <= 1:
            raise ConfigError(f"alpha_bar is a share, 0 to 1, not {self.alpha_bar}")

    @cached_property
    def codec(self) -> FeatureCodec:
        """How the features are stored."""
        return parse_codec(self.form)

    @property
    def kind(self) -> UnitKind:
        """What units of this form are made of."""
        return feature_kind(self.codec)

    def folder(self, root: Path) -> Path:
        """Return the unit's folder in a cache."""
        return unit_folder(
            root,
            dataset=self.dataset,
            video=self.request.video,
            backbone=self.request.backbone,
            digest=self.request.digest(),
            timestep=self.timestep,
            tap=self.tap,
            form=self.form,
        )

    @property
    def video(self) -> str:
        """Real name of the video."""
        return self.request.video

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.frame_names)

    def digest(self) -> str:
        """Return the request's digest."""
        return self.request.digest()

    @property
    def label(self) -> str:
        """Name for messages: ``davis/camel i2vgen-xl@1a2b3c4d t300 up_blocks[2]``, and the form if not float16."""
        digest = self.request.digest()[:8]
        form = "" if self.form == "float16" else f" {self.form}"
        return f"{self.dataset}/{self.request.video} {self.request.backbone}@{digest} t{self.timestep} {self.tap}{form}"

    def field_text(self, field: str) -> str:
        """Return the form, or a field of the request, as text; raises ConfigError for an unknown field."""
        return self.form if field == "form" else self.request.field_text(field)

    def to_json(self) -> dict[str, Any]:
        """Return what a unit's group carries in its attribute ``ted`` (docs/reference/storage-format.md)."""
        described = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind.name,
            "dataset": self.dataset,
            "video": self.request.video,
            "timestep": self.timestep,
            "tap": self.tap,
            "form": self.form,
            "frame_names": list(self.frame_names),
            "source_size": list(self.source_size),
            "request": self.request.to_json(),
            "digest": self.request.digest(),
        }
        optional = {"source": self.source, "alpha_bar": self.alpha_bar}
        return described | {key: value for key, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> "UnitSpec":
        """Build a spec from a group's attribute ``ted``.

        Raises
        ------
        SchemaError
            When the schema is newer than this version, the form is not one that it knows, or the record is none of a
            feature unit.
        CorruptUnitError
            When it is one of another kind of unit.
        """
        check_kind(values, FEATURES, where)
        try:
            spec = cls(
                dataset=values["dataset"],
                request=FeatureRequest.from_json(values["request"]),
                timestep=values["timestep"],
                tap=values["tap"],
                form=check_codec(values["form"], where).name,
                frame_names=tuple(values["frame_names"]),
                source_size=tuple(values["source_size"]),
                source=values.get("source"),
                alpha_bar=values.get("alpha_bar"),
            )
            spec.label, spec.folder(Path())  # whether they can be told
            for item in dataclasses.fields(spec.request):
                spec.request.field_text(item.name)
            if not all(isinstance(name, str) for name in (spec.dataset, spec.video, *spec.frame_names)):
                raise TypeError("names are strings")
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise SchemaError(f"{where} carries no readable description of a feature unit: {error!r}") from error
        return spec
