"""``ted evaluate`` for boxes: a table of overlaps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..datasets.video import Video

__all__ = ["are_boxes", "score_boxes"]


def are_boxes(videos: "Sequence[Video]", results: Path) -> bool:
    """Whether the results of all videos are boxes."""
    from ..runs.propagating.propagation import result_folder
    from ..tasks.boxes.results import has_boxes

    return all(has_boxes(result_folder(results, video)) for video in videos)


def score_boxes(
    videos: "Sequence[Video]", results: Path, set_name: str
) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Score boxes: the values, and the rows of a table that shows them, its header first; writes them as a table."""
    from tqdm import tqdm

    from ..runs.propagating.propagation import result_folder
    from ..tasks.boxes.scoring import score_box_video
    from ..tasks.tables import mean_values, write_table

    scores = {
        (video.name, number): {
            "IoU": score.iou,
            "Success": score.success,
            "Precision": score.precision,
            "Found": score.found,
            "Frames": len(score.overlaps),
        }
        for video in tqdm(videos, unit="video", disable=None)
        for number, score in score_box_video(video, result_folder(results, video)).items()
    }
    measures = ["IoU", "Success", "Precision", "Found"]
    mean = mean_values([{name: values[name] for name in measures} for values in scores.values()])
    rows = {f"{video}_{number}": [values[name] for name in measures] for (video, number), values in scores.items()}
    rows["mean"] = list(mean.values())
    table = write_table(results / f"boxes_results-{set_name}.csv", ["Object", *measures], rows)
    objects = [{"video": video, "object": number} | values for (video, number), values in scores.items()]
    values = {"mean": mean, "objects": objects, "table": str(table)}
    return values, [("object", *measures), *((name, *row) for name, row in rows.items())]
