"""Noticing that frames or weights have changed since a video was extracted under the same name."""

from collections.abc import Iterator

from ....extract.plan import VideoPlan
from ....store import Cache

__all__ = ["describe_changes"]


def describe_changes(cache: Cache, plan: VideoPlan) -> Iterator[str]:
    """Compare what is planned with what the cache has of the same video.

    Features of other frames, or of other weights, are never mixed: they are units of their own. But who runs a command
    again expects to find it done, and should learn why it is not.

    Yields
    ------
    str
        A sentence for each request in the cache that differs from the planned one in its frames or weights alone.
    """
    request = plan.request
    dataset = next(iter(plan.specs.values())).dataset
    seen: set[str] = set()
    for entry in cache.entries(dataset=dataset, video=request.video, backbone=request.backbone):
        other = entry.spec.request
        changed = request.differing_fields(other)
        name = f"{other.backbone}@{other.digest()[:8]}"
        if changed and changed <= {"frames", "weights"} and name not in seen:
            seen.add(name)
            yield (
                f"{dataset}/{request.video} {request.backbone}: the {' and '.join(sorted(changed))} have changed since "
                f"{name} was extracted; this makes {request.backbone}@{request.digest()[:8]} beside it"
            )
