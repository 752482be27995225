"""Descriptions of features: the request that determines their values, and one unit of them."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from .codecs import FLOAT16, FeatureCodec, parse_codec
from .durable import canonical_json
from .errors import ConfigError, SchemaError
from .fields import Fields, check_kind, readable
from .layout import SCHEMA_VERSION, UnitLayout, safe_name, tap_name, unit_path

__all__ = ["FeatureChoice", "FeatureRequest", "UnitSpec", "check_codec", "fits", "most_faithful"]


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """All that determines a backbone's features of one video, at every timestep and tap.

    Paths, host, time, device, threads, batch size and versions are not part of it: they go to the run record.

    Attributes
    ----------
    video
        Name of the video: it keys the noise.
    frames
        SHA-256 of the encoded frames on disk, and of how they were selected.
    backbone
        Name of the backbone.
    weights
        Identity of the weights: ``"sha256:..."``, or ``"random:SEED:sha256:..."`` of an untrained network.
    frame_size
        (height, width) in pixels to which frames were resized.
    clip_length, clip_overlap
        Frames that the network saw at once, and frames shared by neighbouring clips.
    overlap_rule
        What became of a frame that several clips cover: ``"first"`` or ``"mean"``.
    conditioning
        What the network was told beside the noisy frames, as JSON values. The key ``"artifacts"`` holds the content
        hashes of per-video artefacts that the features were made with, by name: ``{"token": "ab12..."}``. With
        another token they are another request.
    ensemble
        Number of noise draws that were averaged.
    seed
        Seed of the noise.
    noise
        Name of the rule that turns the seed into noise.
    compute_dtype
        Precision of the network: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
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
        """Return the request as JSON values, without the overlap rule if it is ``"first"``, as in all old requests."""
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
        """Build a request from what `to_json` returned; raise SchemaError for anything else."""
        try:
            found = Fields(values)
            known = {item.name for item in dataclasses.fields(cls)}
            if unknown := values.keys() - known:
                raise ValueError(f"unknown fields: {', '.join(sorted(unknown))[:80]}")
            checked: dict[str, Any] = {"frame_size": found.pair("frame_size")}
            optional = {"noise", "compute_dtype", "overlap_rule"} & values.keys()
            for name in {"video", "frames", "backbone", "weights"} | optional:
                checked[name] = found.text(name)
            for name, low in {"clip_length": 1, "clip_overlap": 0, "ensemble": 1, "seed": -(2**63)}.items():
                if name in values:
                    checked[name] = found.integer(name, low, 2**64)
            if "conditioning" in values:
                checked["conditioning"] = found.mapping("conditioning")
            return cls(**checked)
        except ValueError as error:
            raise SchemaError(
                f"the request recorded in the cache is not one that this version knows: {error}"
            ) from error

    def digest(self) -> str:
        """Return the SHA-256 of the request's canonical JSON, 64 hex digits."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()


@dataclass(frozen=True, kw_only=True)
class UnitSpec:
    """One feature unit: a request at one timestep and tap, stored with one codec, of one dataset's video.

    Attributes
    ----------
    dataset
        Name of the dataset.
    request
        What determines the features.
    timestep
        tau, as the model's training counts it.
    tap
        Point in the network that is read, for example ``"up_blocks[2]"``.
    form
        Name of the codec that the features are stored with.
    frame_names
        One name a frame; results are written under these.
    source_size
        (height, width) in pixels of the frames before resizing.
    source
        Content hash of the float16 unit that these features were converted from; None for features as extracted.
    alpha_bar
        Clean share of the power of what the network saw, in [0, 1]; None without noise, and where it was not recorded.
        It follows from the weights and the timestep, and does not tell units apart.
    heads
        Attention heads of the features, at least 1; the channels are head-major. It follows from the tap.
    """

    kind: ClassVar[str] = "features"

    dataset: str
    request: FeatureRequest
    timestep: int
    tap: str
    frame_names: tuple[str, ...]
    source_size: tuple[int, int]
    form: str = "float16"
    source: str | None = None
    alpha_bar: float | None = field(default=None, compare=False)
    heads: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        # Also refuses NaN, which canonical JSON does not have.
        if self.alpha_bar is not None and not 0 <= self.alpha_bar <= 1:
            raise ConfigError(f"alpha_bar is a share, 0 to 1, not {self.alpha_bar}")

    @cached_property
    def codec(self) -> FeatureCodec:
        """How the features are stored."""
        return parse_codec(self.form)

    @property
    def layout(self) -> UnitLayout:
        """Arrays of the unit, and where its files lie."""
        return feature_layout(self.codec)

    def folder(self, root: Path) -> Path:
        """Return the unit's folder in a cache: BACKBONE@DIGEST/tTIMESTEP/TAP/FORM in the video's hierarchy.

        The digest's first eight characters name it; the whole digest is compared.
        """
        backbone = f"{safe_name(self.request.backbone)}@{self.digest()[:8]}"
        names = (backbone, f"t{self.timestep}", tap_name(self.tap), safe_name(self.form))
        return unit_path(root, self.dataset, self.video, *names)

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
    def feature(self) -> str:
        """Backbone, timestep and tap as one writes them: ``i2vgen-xl@1a2b3c4d:300:up_blocks[2]``."""
        return f"{self.request.backbone}@{self.digest()[:8]}:{self.timestep}:{self.tap}"

    @property
    def label(self) -> str:
        """Name for messages: ``davis/camel i2vgen-xl@1a2b3c4d t300 up_blocks[2]``, and the codec if not float16."""
        form = "" if self.form == FLOAT16.name else f" {self.form}"
        about = f"{self.request.backbone}@{self.digest()[:8]} t{self.timestep} {self.tap}"
        return f"{self.dataset}/{self.video} {about}{form}"

    def field_text(self, field: str) -> str:
        """Return the form, or a field of the request, as text; raise ConfigError for an unknown field."""
        return self.form if field == "form" else self.request.field_text(field)

    def columns(self) -> dict[str, Any]:
        """Return the columns of a list of units besides dataset, video, frames and state."""
        return {"feature": self.feature, "form": self.form, "alpha_bar": self.alpha_bar}

    def to_json(self) -> dict[str, Any]:
        """Return the attribute ``ted`` of the unit's group (docs/reference/storage-format.md)."""
        described = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "dataset": self.dataset,
            "video": self.video,
            "timestep": self.timestep,
            "tap": self.tap,
            "form": self.form,
            "frame_names": list(self.frame_names),
            "source_size": list(self.source_size),
            "request": self.request.to_json(),
            "digest": self.digest(),
        }
        heads = self.heads if self.heads > 1 else None
        optional = {"source": self.source, "alpha_bar": self.alpha_bar, "heads": heads}
        return described | {key: value for key, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: Path) -> "UnitSpec":
        """Build a spec from a group's attribute ``ted``.

        Raises
        ------
        SchemaError
            When the schema is newer than this version, the codec unknown, or a field missing or wrong.
        CorruptUnitError
            When it describes another kind of unit.
        """
        check_kind(values, cls.kind, FLOAT16_LAYOUT.maker, where)
        with readable(where):
            found = Fields(values)
            return cls(
                dataset=found.text("dataset"),
                request=FeatureRequest.from_json(found.mapping("request")),
                timestep=found.integer("timestep"),
                tap=found.text("tap"),
                form=check_codec(found.text("form"), where).name,
                frame_names=found.texts("frame_names"),
                source_size=found.pair("source_size"),
                source=found.text("source") if found.has("source") else None,
                alpha_bar=found.fraction("alpha_bar") if found.has("alpha_bar") else None,
                heads=found.integer("heads", 1) if found.has("heads") else 1,
            )


def feature_layout(codec: FeatureCodec) -> UnitLayout:
    """Return the layout of feature units that are stored with a codec."""
    return UnitLayout(arrays=codec.arrays, maker="extraction" if codec.family == FLOAT16.family else "conversion")


#: Layout of features as extraction writes them.
FLOAT16_LAYOUT = feature_layout(FLOAT16)


def check_codec(name: str, where: Path) -> FeatureCodec:
    """Return the codec of a name on disk; raise SchemaError for one that this version does not know."""
    try:
        if safe_name(name) != name:  # a notation, which could name a file
            raise ConfigError(f"{name!r} is no name of a codec")
        return parse_codec(name)
    except ConfigError as error:
        raise SchemaError(
            f"{where} holds features stored as {name!r}, which this version does not know: upgrade ted-tracking, or "
            "install the plug-in that offers it"
        ) from error


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """Which features of a video are meant.

    Attributes
    ----------
    backbone
        Name of the backbone.
    timestep
        tau.
    tap
        Name of the tap, ``"up_blocks[2]"``.
    digest
        First characters of the request's digest, where a cache holds several requests of this backbone; or None.
    """

    backbone: str
    timestep: int
    tap: str
    digest: str | None = None

    def __str__(self) -> str:
        backbone = self.backbone + (f"@{self.digest}" if self.digest else "")
        return f"{backbone}:{self.timestep}:{self.tap}"


def fits(spec: UnitSpec, choice: FeatureChoice) -> bool:
    """Tell whether a choice means a unit."""
    return (
        spec.request.backbone == choice.backbone
        and spec.timestep == choice.timestep
        and tap_name(spec.tap) == tap_name(choice.tap)
        and spec.digest().startswith(choice.digest or "")
    )


class _Described(Protocol):
    @property
    def spec(self) -> UnitSpec: ...


_Any = TypeVar("_Any", bound=_Described)


def most_faithful(entries: Iterable[_Any]) -> list[_Any]:
    """Of units that hold the same features, keep the one whose codec loses least (`FeatureCodec.loss`)."""
    best: dict[str, _Any] = {}
    for entry in entries:
        there = best.setdefault(entry.spec.digest(), entry)
        if entry.spec.codec.loss < there.spec.codec.loss:
            best[entry.spec.digest()] = entry
    return list(best.values())
