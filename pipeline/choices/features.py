"""The notation of features on the command line: ``BACKBONE[@DIGEST]:TIMESTEP:TAP``, with lists where several fit."""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...store import FeatureChoice, FeatureRequest, parse_codec
from ...store.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BackboneJob:
    """Features to extract with one backbone: every combination of the timesteps and taps."""

    backbone: str
    timesteps: tuple[int, ...]
    taps: tuple[str, ...]


def parse_job(text: str) -> BackboneJob:
    """Read ``BACKBONE:TIMESTEP[,TIMESTEP...]:TAP[,TAP...]``; raises ConfigError for anything else."""
    parts = text.split(":", 2)
    if len(parts) != 3 or not all(part.strip() for part in parts):
        raise ConfigError(f"feature {text!r} is not BACKBONE:TIMESTEP:TAP, such as adm:51:output_blocks[7]")
    backbone, timesteps, taps = (part.strip() for part in parts)
    try:
        numbers = tuple(int(item) for item in timesteps.split(","))
    except ValueError:
        raise ConfigError(f"feature {text!r}: timestep {timesteps!r} is not a whole number or list of them") from None
    return BackboneJob(backbone=backbone, timesteps=numbers, taps=tuple(tap.strip() for tap in taps.split(",")))


def merge_jobs(jobs: Iterable[BackboneJob]) -> list[BackboneJob]:
    """Join jobs of the same backbone and timesteps, whose taps one pass can read."""
    taps: dict[tuple[str, tuple[int, ...]], dict[str, None]] = {}
    for job in jobs:
        taps.setdefault((job.backbone, job.timesteps), {}).update(dict.fromkeys(job.taps))
    return [
        BackboneJob(backbone=backbone, timesteps=timesteps, taps=tuple(found))
        for (backbone, timesteps), found in taps.items()
    ]


def parse_choice(text: str) -> FeatureChoice:
    """Read ``BACKBONE[@DIGEST]:TIMESTEP:TAP``; raises ConfigError for anything else."""
    job = parse_job(text)
    if len(job.timesteps) > 1 or len(job.taps) > 1:
        raise ConfigError(f"feature {text!r}: one timestep and one tap are needed here")
    name, at, digest = job.backbone.partition("@")
    if at and not re.fullmatch("[0-9a-f]{1,64}", digest):
        raise ConfigError(f"feature {text!r}: {digest!r} is not the beginning of a digest (as `ted cache ls` shows it)")
    return FeatureChoice(backbone=name, timestep=job.timesteps[0], tap=job.taps[0], digest=digest or None)


def parse_weighted(text: str) -> tuple[FeatureChoice, float]:
    """Read ``BACKBONE[@DIGEST]:TIMESTEP:TAP=WEIGHT``; raises ConfigError for anything else."""
    choice, equals, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not equals or not 0 <= value < float("inf"):
        raise ConfigError(f"{text!r} is not BACKBONE:TIMESTEP:TAP=WEIGHT with a weight of at least 0")
    return parse_choice(choice), value


def parse_preference(text: str) -> tuple[str, str]:
    """Read ``FIELD=VALUE``, a field of a unit's request, or its form; raises ConfigError for anything else."""
    field, equals, value = text.partition("=")
    known = [*(item.name for item in dataclasses.fields(FeatureRequest)), "artifacts", "form"]
    if not equals or field.replace("-", "_") not in known:
        raise ConfigError(f"{text!r} is not FIELD=VALUE with one of the fields {', '.join(known)}")
    return field.replace("-", "_"), parse_codec(value).name if field == "form" else value
