"""``ted evaluate`` for joints and points: figures in percent, as the papers print them, and tables of them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..datasets.jhmdb import JointVideo
    from ..datasets.tapvid import TrackVideo

__all__ = ["score_joints", "score_tracks"]


def score_joints(videos: "Sequence[JointVideo]", results: Path, _set_name: str) -> tuple[dict[str, Any], list[str]]:
    """Score PCK: the values, and lines that show them; writes it per joint and per video."""
    from tqdm import tqdm

    from ..metrics.pck import PCK_THRESHOLDS, PckScore
    from ..runs.propagating.propagation import result_folder
    from ..tasks.joints.scoring import score_joint_video
    from ..tasks.tables import write_table

    scored = [
        score_joint_video(video, result_folder(results, video)) for video in tqdm(videos, unit="video", disable=None)
    ]
    total = PckScore.joined([item.score for item in scored])
    names = [f"PCK@{threshold}" for threshold in PCK_THRESHOLDS]
    mean = [*total.mean.tolist(), total.found]
    per_joint = dict(zip(scored[0].joints, total.per_joint.T.tolist(), strict=True)) | {"mean": mean[:-1]}
    per_video = {item.name: [*item.score.mean.tolist(), item.score.found] for item in scored} | {"all": mean}
    tables = [
        write_table(results / "pck_per-joint.csv", ["Joint", *names], per_joint),
        write_table(results / "pck_per-video.csv", ["Video", *names, "Found"], per_video),
    ]
    lines = [*_table(["joint", *names], per_joint), "", *_table(["video", *names, "found"], per_video)]
    lines.append(f"tables: {tables[0]} {tables[1]}")
    columns = [*names, "found"]
    values = {
        "mean": _named(columns, per_video.pop("all")),
        "joints": {joint: _named(names, row) for joint, row in per_joint.items() if joint != "mean"},
        "videos": {name: _named(columns, row) for name, row in per_video.items()},
    }
    return values, lines


def score_tracks(videos: "Sequence[TrackVideo]", results: Path, _set_name: str) -> tuple[dict[str, Any], list[str]]:
    """Score TAP-Vid's measures: the values, and lines that show them; writes them per video."""
    from tqdm import tqdm

    from ...store.errors import ConfigError
    from ..runs.propagating.propagation import result_folder
    from ..tasks.points.scoring import score_track_video
    from ..tasks.tables import mean_values, write_table

    scored = {
        video.name: score_track_video(video, result_folder(results, video))
        for video in tqdm(videos, unit="video", disable=None)
    }
    modes = {mode for mode, _ in scored.values()}
    if len(modes) > 1:
        raise ConfigError(f"{results} has results of both query modes; propagate all videos with the same --query-mode")
    mode = modes.pop()
    per_video = {name: score.values for name, (_, score) in scored.items()}
    mean = mean_values(list(per_video.values()))
    percent = {
        name: [100 * value for value in values.values()] for name, values in [*per_video.items(), ("mean", mean)]
    }
    table = write_table(results / f"tapvid_{mode}.csv", ["Video", *mean], percent)
    lines = _table(["video", "AJ", "<delta_avg", "OA"], {name: row[:3] for name, row in percent.items()})
    lines.append("  ".join(f"{name} {value:.1f}" for name, value in zip(mean, percent["mean"], strict=True)))
    lines.append(f"queries: {mode}; table: {table}")
    return {"query_mode": mode, "mean": mean, "videos": per_video}, lines


def _named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


def _table(header: Sequence[str], rows: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a table's lines: a column of names, and columns of percentages; a dash where there is none."""
    width = max(map(len, (header[0], *rows)))
    texts = {name: ["-" if math.isnan(value) else f"{value:.1f}" for value in values] for name, values in rows.items()}
    return [
        "  ".join(
            [name.ljust(width), *(text.rjust(max(5, len(head))) for text, head in zip(row, header[1:], strict=True))]
        )
        for name, row in [(header[0], header[1:]), *texts.items()]
    ]
