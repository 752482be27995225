"""Stage 2 of tracking by interpolation (DINTR-style): read targets out of cached attention maps, without a network."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ...propagate import AnnotatedLabel
from ...propagate.interpolation import MapRange, ReadOutSettings, labels_of_pair, map_range, pair_maps
from ...store import INTERPOLATION, Artifact, Cache
from ...store.cache import ArtifactEntry
from ...store.durable import explain_os_errors
from ...store.errors import Hint, IncompleteUnitError, UnitNotFoundError
from ..choices.hints import plural
from ..datasets.video import Video
from ..tasks.base import AnnotatedTarget, Score, Task, TaskRun
from ..tasks.refiners import Refiner
from ..tasks.running import EncodedTarget, describe_targets, encode_targets
from .propagating.propagation import PassProgress, collect_labels
from .result_folders import atomic_folder, has_same_result, result_folder

# Pairs of frames that a message names.
_SHOWN = 5

# Bytes of attention maps that stay in memory, for targets with other annotated frames.
_MEMORY = 2**29


@dataclass(frozen=True, kw_only=True)
class ReadOutReport:
    """Report of the read-out of one video.

    Attributes
    ----------
    video
        Name of the video.
    folder
        Where the result is.
    frames
        Number of frames.
    skipped
        Whether the result was there before, made with the same settings from the same maps.
    seconds
        Wall time.
    absent
        Number of frames after its first annotation in which nothing of a target was found, by the target's name; empty
        for a result that was there before.
    losses, errors
        Mean over the pairs: loss at each step of fine-tuning, and mean squared error after each step of the roll-out.
    """

    video: str
    folder: Path
    frames: int
    skipped: bool
    seconds: float = 0.0
    absent: Mapping[str, int] = field(default_factory=dict)
    losses: Sequence[float] = ()
    errors: Sequence[float] = ()


class PairMaps(NamedTuple):
    """The maps of a pair; see `labels_of_pair`."""

    sources: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    cross: npt.NDArray[np.float32]


class Interpolation:
    """The attention maps of one video, to be read out."""

    def __init__(self, unit: Artifact) -> None:
        self.unit = unit
        request, sizes = unit.spec.request, unit.spec.sizes
        self.grid: tuple[int, int] = (request["grid"][0], request["grid"][1])
        self.frame_size: tuple[int, int] = (request["frame_size"][0], request["frame_size"][1])
        self.has_cross = bool(request["cross"])
        bytes_of_frame = 4 * sizes["cell"] * (2 * sizes["slot"] + sizes["target"])
        self._read = lru_cache(max(1, _MEMORY // bytes_of_frame))(self._read_frame)

    def labels(
        self, targets: Sequence[AnnotatedTarget], number: int, settings: Sequence[ReadOutSettings]
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Yield the frames of a target, by its number, and its soft labels under each setting.

        Frames come in the order of `Labels`. Nothing is tracked backward: a label is zero before the first annotation.
        Annotated labels are unchanged.
        """
        encoded = encode_targets(targets, self.grid)
        target, begin = encoded[number], sum(len(other.channels) for other in encoded[:number])
        rows = slice(begin, begin + len(target.channels)) if self.has_cross else [0] * len(target.channels)
        places = getattr(targets[number].target, "places", False)
        states = [LabelState(target, one.for_network(self.has_cross), places=places) for one in settings]
        first = targets[number].frames[0]
        for frame in range(first, self.unit.spec.frame_count):
            maps = self._read(frame)
            maps = maps._replace(cross=maps.cross[rows])
            yield frame, [state.advance(frame, maps) for state in states]
        empty = _with_background(torch.zeros_like(states[0].label[target.channels]), target)
        for frame in range(first - 1, -1, -1):
            yield frame, [empty] * len(settings)

    def means(self, name: str) -> list[float]:
        """Return the mean over the pairs of ``"losses"`` or ``"errors"``, by step."""
        return [float(value) for value in self.unit[name][...][1:].mean(0, dtype=np.float64)]

    def _read_frame(self, frame: int) -> PairMaps:
        return PairMaps(*(self.unit[name][frame] for name in PairMaps._fields))


class LabelState:
    """The label of a target under one setting, from frame to frame.

    Parameters
    ----------
    target
        The target on the grid.
    settings
        Settings for the network (`ReadOutSettings.for_network`).
    places
        Whether the target's channels are points or joints.
    """

    def __init__(self, target: EncodedTarget, settings: ReadOutSettings, *, places: bool) -> None:
        self._target, self._settings, self._places = target, settings, places
        self.label = torch.zeros_like(next(iter(target.labels.values())).label)
        count = len(target.channels)
        self._begun = torch.zeros(count, dtype=torch.bool)
        self._limits = MapRange(np.zeros(count), np.zeros(count))
        self._mass = torch.ones(count)  # sum of each point's annotated label

    def advance(self, frame: int, maps: PairMaps) -> torch.Tensor:
        """Return the label of the next frame, (channel, y, x)."""
        channels, settings = self._target.channels, self._settings
        found = torch.zeros_like(self.label[channels])
        if self._begun.any():
            found = labels_of_pair(
                *maps,
                self.label[channels],
                settings=settings,
                places=self._places,
                limits=self._limits,
            )
            found[~self._begun] = 0
            found *= self._mass[:, None, None]
        self.label = _with_background(found, self._target)
        annotated = self._target.labels.get(frame)
        if annotated is not None:
            self.label = annotated.over(self.label)
            here = _annotated(annotated, channels)
            new = here & ~self._begun
            first = map_range(pair_maps(*maps, self.label[channels], settings=settings))
            self._limits = MapRange(*(np.where(new, one, old) for one, old in zip(first, self._limits, strict=True)))
            if self._places:
                self._mass = torch.where(new, self.label[channels].sum((1, 2)), self._mass)
            self._begun |= here
        return self.label


def _annotated(annotated: AnnotatedLabel, channels: range) -> torch.Tensor:
    """Return which of the channels are annotated in a frame: (channel,), bool."""
    return torch.tensor([annotated.channels is None or channel in annotated.channels for channel in channels])


def _counting_absences(
    labels: Iterable[tuple[int, list[torch.Tensor]]], target: EncodedTarget, counts: torch.Tensor
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield labels, and count for each channel the frames after its first annotation in which it is zero."""
    begun, first = torch.zeros(len(counts), dtype=torch.bool), min(target.labels)
    for frame, [label] in labels:
        if frame in target.labels:
            begun |= _annotated(target.labels[frame], target.channels)
        elif frame > first:
            counts += begun & (label[target.channels].amax((1, 2)) == 0)
        yield frame, label


def _with_background(found: torch.Tensor, target: EncodedTarget) -> torch.Tensor:
    """Return a label with the background before the targets' channels, if it has any: 1 less the largest of them."""
    return torch.cat([1 - found.amax(0, keepdim=True), found]) if target.channels.start else found


def find_interpolation(
    cache: Cache, video: Video, run: TaskRun, prefer: Sequence[tuple[str, str]] = ()
) -> Interpolation:
    """Find the attention maps of a video that were made for a run's targets.

    `prefer` has fields of the request, or ``digest``, and their values as text: only maps with these fit.

    Raises
    ------
    UnitNotFoundError
        When there are none, or several, or those of other frames or targets.
    IncompleteUnitError
        When pairs of frames are missing; the message names them.
    CacheError
        When they are damaged.
    """
    name = f"{video.dataset}/{video.name}"
    found = cache.artifacts(INTERPOLATION.name, video.dataset, video.name)
    if not found:
        message = f"{cache.root} has no attention maps of pairs of frames of {name}"
        raise UnitNotFoundError(message, hint=Hint("interpolate"))
    frames = video.frames.digest()
    here = [entry for entry in found if entry.spec.request.get("frames") == frames]
    if not here:
        message = (
            f"the attention maps of {name} are those of other frames: the frames have changed since, or were selected "
            f"otherwise. There are:\n  {_listed(found)}"
        )
        raise UnitNotFoundError(message, hint=Hint("select-interpolated-frames"))
    fitting = [entry for entry in here if _is_for(entry, run)]
    if not fitting:
        wanted = ", ".join(describe_targets(run, _grid(here[0]))["targets"])
        message = f"the attention maps of {name} are for other targets than {wanted} as annotated here:\n  "
        raise UnitNotFoundError(message + _listed(here, ["targets"]), hint=Hint("interpolate"))
    for key, value in prefer:
        chosen = [entry for entry in fitting if _fields(entry).get(key) == value]
        if not chosen:
            message = f"no attention maps of {name} have {key} {value}; there are:\n  {_listed(fitting, [key])}"
            raise UnitNotFoundError(message)
        fitting = chosen
    complete = [entry for entry in fitting if entry.state != "incomplete"]
    if not complete:
        missing = fitting[0].missing
        pairs = [f"{video.frames.names[frame - 1]} -> {video.frames.names[frame]}" for frame in missing if frame]
        shown = ", ".join(pairs[:_SHOWN]) + (f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")
        lacking = f"{plural(len(pairs), 'pair')} of frames ({shown})" if pairs else "their completion"
        message = f"{fitting[0].spec.label} is not complete: it lacks {lacking}"
        raise IncompleteUnitError(message, hint=Hint("resume", {"maker": INTERPOLATION.maker}))
    if len(complete) > 1:
        message = f"there are several sets of attention maps of {name} for these targets; they differ in:\n  "
        raise UnitNotFoundError(message + _listed(complete, _differing(complete)), hint=Hint("prefer-field"))
    return Interpolation(complete[0].open())


def _grid(entry: ArtifactEntry) -> tuple[int, int]:
    y, x = entry.spec.request["grid"]
    return y, x


def _is_for(entry: ArtifactEntry, run: TaskRun) -> bool:
    """Tell whether maps are for a run's targets; self-attention alone is for any, words for as many."""
    request, described = entry.spec.request, describe_targets(run, _grid(entry))
    made_for = request.get("conditioning", {}).get("annotations", described["annotations"])
    same = made_for == described["annotations"] and len(request["targets"]) == len(described["targets"])
    return same or not request["cross"]


def _fields(entry: ArtifactEntry) -> dict[str, str]:
    """Return the digest and the fields of a request as text; those of nested objects are named ``outer.inner``."""

    def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from flat(value, f"{before}{key}.")
            else:
                yield f"{before}{key}", value if isinstance(value, str) else json.dumps(value)

    return {"digest": entry.spec.digest()[:8], **dict(flat(entry.spec.request))}


def _differing(entries: Sequence[ArtifactEntry]) -> list[str]:
    found = [_fields(entry) for entry in entries]
    return [key for key in {**found[0], **found[-1]} if len({fields.get(key) for fields in found}) > 1]


def _listed(entries: Sequence[ArtifactEntry], keys: Sequence[str] = ("backbone", "targets")) -> str:
    """Return a line for each entry, with the digest and some fields."""
    lines = []
    for entry in entries:
        fields = _fields(entry)
        shown = [f"{key} {fields.get(key, 'none')}" for key in keys if key != "digest"]
        lines.append(f"{entry.spec.name} ({', '.join([entry.state, *shown])})")
    return "\n  ".join(lines)


def read_out_video(
    cache: Cache,
    video: Video,
    settings: ReadOutSettings,
    out: Path,
    *,
    task: Task,
    refiner: Refiner | None = None,
    prefer: Sequence[tuple[str, str]] = (),
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda frames: None,
) -> ReadOutReport:
    """Read a video's targets out of its attention maps, and write the result, as `propagate_video` does.

    Raises
    ------
    TedError
        As `find_interpolation` and `propagate_video`.
    """
    clock = time.monotonic()
    folder = result_folder(out, video)
    run = task.start(video)
    maps = find_interpolation(cache, video, run, prefer)
    settings = settings.for_network(maps.has_cross)
    source = {"unit": maps.unit.spec.label, "content_hash": maps.unit.content_hash}
    record = {"interpolation": source, "settings": settings.to_json(), **run.record}
    if refiner is not None:
        record["refiner"] = dict(refiner.identity)
    report = ReadOutReport(
        video=video.name,
        folder=folder,
        frames=len(video.frames),
        skipped=has_same_result(folder, record, overwrite=overwrite, expected=run.files),
        losses=maps.means("losses"),
        errors=maps.means("errors"),
    )
    if report.skipped:
        progress(len(video.frames))
        return report
    frames = PassProgress(len(video.frames), len(run.targets), progress)
    absent: list[int] = []
    with explain_os_errors(f"write {folder}"), atomic_folder(folder, record) as hidden:
        run.begin(hidden, maps.grid, maps.frame_size)
        for number, encoded in enumerate(encode_targets(run.targets, maps.grid)):
            labels = maps.labels(run.targets, number, [settings])
            counts = torch.zeros(len(encoded.channels), dtype=torch.int64)
            collect_labels(
                run,
                number,
                _counting_absences(labels, encoded, counts),
                maps.frame_size,
                video=video,
                refiner=refiner,
                progress=frames.advance,
            )
            absent += counts.tolist()
            frames.finish(number)
        run.write(hidden)
    names = describe_targets(run, maps.grid)["targets"]
    return replace(
        report,
        seconds=time.monotonic() - clock,
        absent={name: count for name, count in zip(names, absent, strict=True) if count},
    )


def score_read_outs(
    cache: Cache, video: Video, settings: Sequence[ReadOutSettings], task: Task, prefer: Sequence[tuple[str, str]] = ()
) -> Sequence[Score]:
    """Score the read-out of a video under each setting, without writing results.

    Raises
    ------
    TedError
        As `find_interpolation` and `Task.eval_case`.
    """
    maps = find_interpolation(cache, video, task.start(video), prefer)
    case = task.eval_case(video)
    labels = (maps.labels(case.targets, number, settings) for number in range(len(case.targets)))
    return case.evaluator.score(labels, len(settings), maps.frame_size, {})
