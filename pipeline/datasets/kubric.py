"""Videos rendered by Kubric: <video>/rgba_00000.png, segmentation_00000.png; Kubric-Similar is 30 of them."""

from pathlib import Path

from ...extract.frames import ImageFrames
from ...store.errors import FrameError
from .listing import list_folders, list_images
from .video import AnnotatedMask, Dataset, Source, Video

_FRAME, _MASK = "rgba_", "segmentation_"


def _is_video(folder: Path) -> bool:
    return any(folder.glob(f"{_FRAME}*.png")) and any(folder.glob(f"{_MASK}*.png"))


def _names(source: Source) -> tuple[str, ...]:
    return tuple(name for name in list_folders(source.path) if _is_video(source.path / name))


def _matches(path: Path) -> bool:
    return not list_images(path) and any(path.glob(f"*/{_FRAME}*.png")) and bool(_names(Source(path=path)))


def _video(folder: Path) -> Video:
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


KUBRIC_VIDEO = Dataset(
    kind="a video of Kubric",
    matches=_is_video,
    names=lambda source: (source.path.resolve().name,),
    video=lambda source, name: _video(source.path),
)
KUBRIC = Dataset(
    kind="a folder of videos of Kubric",
    matches=_matches,
    names=_names,
    video=lambda source, name: _video(source.path / name),
)
