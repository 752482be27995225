"""Descriptions of features: the request, which determines their values, and the spec of one unit."""

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


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """Everything that determines a backbone's features of one video, at every timestep and tap.

    Paths, host, time, device, threads, batch size and versions are not part of it: they are in the run record.

    Attributes
    ----------
    video
        Name of the video, which keys the noise.
    frames
        SHA-256 of the encoded frames on disk and of their selection.
    backbone
        Name of the backbone.
    weights
        Identity of the weights: ``"sha256:..."``, or ``"random:SEED:sha256:..."`` of an untrained network.
    frame_size
        (height, width) in pixels to which frames were resized.
    clip_length, clip_overlap
        Number of frames in a clip, and of frames that neighbouring clips share.
    overlap_rule
        Feature of a frame that several clips cover: ``"first"`` (of the first clip) or ``"mean"``.
    conditioning
        Inputs of the network beside the noisy frames, as JSON values. The key ``"artifacts"`` holds the content hashes
        of the per-video artifacts that the network was given, by name: ``{"token": "ab12..."}``. Another token makes
        another request.
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
        """Return the request as JSON values; omit the overlap rule ``"first"``, since old requests lack it."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        if self.overlap_rule == "first":
            del values["overlap_rule"]
        return values | {"frame_size": list(self.frame_size), "conditioning": dict(self.conditioning)}

    def field_text(self, field: str) -> str:
        """Return a field as text: ``"480x832"`` for the frame size, JSON for the conditioning.

        ``"artifacts"`` gives the names of the artifacts in the conditioning, such as ``"token"``, or ``"none"``. Their
        hashes differ from video to video.

        Raises
        ------
        ConfigError
            For an unknown field.
        """
        if field == "artifacts":
            return ",".join(self.conditioning.get("artifacts", {})) or "none"
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
        """Build a request from the result of `to_json`; raise SchemaError if that is not possible."""
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
    """Description of a feature unit: a request at one timestep and tap, stored with one codec.

    Attributes
    ----------
    dataset
        Name of the dataset.
    request
        Everything else that determines the features.
    timestep
        tau, a timestep of the model's training.
    tap
        Module of the network whose output is read, for example ``"up_blocks[2]"``.
    form
        Name of the codec that stores the features.
    frame_names
        Name of each frame; result files have these names.
    source_size
        (height, width) in pixels of the frames before resizing.
    source
        Content hash of the float16 unit that these features were converted from; None for features as extracted.
    alpha_bar
        Share of the clean signal in the power of the network's input, in [0, 1]; None without noise, and if it was not
        recorded. It follows from the weights and the timestep, so it is not part of a unit's identity.
    heads
        Number of attention heads of the features, at least 1; the channels are head-major. It follows from the tap.
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
        # This also refuses NaN, which canonical JSON lacks.
        if self.alpha_bar is not None and not 0 <= self.alpha_bar <= 1:
            raise ConfigError(f"alpha_bar is a share, 0 to 1, not {self.alpha_bar}")

    @cached_property
    def codec(self) -> FeatureCodec:
        """Codec that stores the features."""
        return parse_codec(self.form)

    @property
    def layout(self) -> UnitLayout:
        """Arrays of the unit, and where its files lie."""
        return feature_layout(self.codec)

    def folder(self, root: Path) -> Path:
        """Return the unit's folder in a cache: BACKBONE@DIGEST/tTIMESTEP/TAP/FORM in the video's hierarchy.

        The folder's name has the first eight characters of the digest; readers compare the whole digest.
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
        """Notation of backbone, timestep and tap: ``i2vgen-xl@1a2b3c4d:300:up_blocks[2]``."""
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
        """Return this unit's own columns in a list of units, beside dataset, video, frames and state."""
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
        """Build a spec from a group's attribute ``ted``; see `Spec.from_json`."""
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
        if safe_name(name) != name:  # a notation, not a name on disk; it could name a file to read
            raise ConfigError(f"{name!r} is no name of a codec")
        return parse_codec(name)
    except ConfigError as error:
        raise SchemaError(
            f"{where} holds features stored as {name!r}, which this version does not know: upgrade ted-tracking, or "
            "install the plug-in that offers it"
        ) from error


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """Choice of features of a video.

    Attributes
    ----------
    backbone
        Name of the backbone.
    timestep
        tau.
    tap
        Name of the tap, ``"up_blocks[2]"``.
    digest
        First characters of the request's digest, to choose among several requests of this backbone; or None.
    """

    backbone: str
    timestep: int
    tap: str
    digest: str | None = None

    def __str__(self) -> str:
        backbone = self.backbone + (f"@{self.digest}" if self.digest else "")
        return f"{backbone}:{self.timestep}:{self.tap}"


def fits(spec: UnitSpec, choice: FeatureChoice) -> bool:
    """Tell whether a unit fits a choice."""
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
    """Drop units whose features are also stored by a codec that loses less (`FeatureCodec.loss`)."""
    best: dict[str, _Any] = {}
    for entry in entries:
        there = best.setdefault(entry.spec.digest(), entry)
        if entry.spec.codec.loss < there.spec.codec.loss:
            best[entry.spec.digest()] = entry
    return list(best.values())
