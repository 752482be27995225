"""Videos rendered by Kubric: <video>/rgba_00000.png, segmentation_00000.png; Kubric-Similar is 30 of them."""

from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import FrameError
from .listing import list_folders, list_images
from .video import AnnotatedMask, Video

__all__ = ["is_kubric_root", "is_kubric_video", "kubric_video", "kubric_videos"]

_FRAME, _MASK = "rgba_", "segmentation_"


def is_kubric_video(folder: Path) -> bool:
    """Return whether a folder has the frames and masks of one video."""
    return any(folder.glob(f"{_FRAME}*.png")) and any(folder.glob(f"{_MASK}*.png"))


def is_kubric_root(root: Path) -> bool:
    """Return whether a folder has folders of Kubric videos."""
    return any(root.glob(f"*/{_FRAME}*.png")) and bool(kubric_videos(root))


def kubric_videos(root: Path) -> tuple[str, ...]:
    """Return the names of the videos' folders, in order."""
    return tuple(name for name in list_folders(root) if is_kubric_video(root / name))


def kubric_video(folder: Path) -> Video:
    """Open one video; raises FrameError if it has no frames. Other layers (depth, flow ...) and alpha are ignored."""
    files = list_images(folder)
    images = [path for path in files if path.stem.startswith(_FRAME)]
    if not images:
        raise FrameError(f"no frames: no {_FRAME}*.png in {folder}")
    numbers = {path.stem.removeprefix(_MASK): path for path in files if path.stem.startswith(_MASK)}
    masks = {image.stem: numbers[number] for image in images if (number := image.stem.removeprefix(_FRAME)) in numbers}
    first = images[0].stem
    return Video(
        dataset="kubric",
        name=folder.resolve().name,
        frames=ImageFrames(images),
        annotated_masks={first: AnnotatedMask(path=masks[first])} if first in masks else {},
        frame_masks=masks,
    )
