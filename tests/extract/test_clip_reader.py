"""Clips do not depend on the number of threads that prepare them."""

import dataclasses

import pytest
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.clip_reader import ClipReader, HostClip
from ted.extract.features import latent_shape
from ted.extract.runtime import StageClock
from ted.store.errors import FrameError

from .conftest import ArrayFrames, make_plan, random_frames
from .videos import Torn

SIZE = (64, 64)


def read(backbone: Backbone, source: ArrayFrames, threads: int, wanted: list[int] | None = None) -> list[HostClip]:
    plan = make_plan(backbone, source, SIZE, overlap=2, ensemble=3, seed=7)
    reader = ClipReader(backbone, source, plan, latent_shape(backbone, SIZE), threads=threads)
    return list(reader.read(wanted or range(len(plan.clips))))


@pytest.mark.parametrize("condition_on", ["clip", "video", "none"])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_bit(svd: Backbone, threads: int, condition_on: str) -> None:
    backbone, source = dataclasses.replace(svd, condition_on=condition_on), random_frames(3 * svd.clip_length)
    one, many = read(backbone, source, 1), read(backbone, source, threads)
    assert len(one) == len(many) > 3
    for a, b in zip(one, many, strict=True):
        assert (a.index, a.clip, a.image_index) == (b.index, b.clip, b.image_index)
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(a.noise, b.noise)
        assert (a.image is None) == (b.image is None) == (condition_on == "none")
        assert a.image is None or torch.equal(a.image, b.image)
    assert source.reads == [*range(len(source)), *range(len(source))]  # each frame once, in order


def test_clips_before_an_error_are_read(adm: Backbone) -> None:
    source = Torn(random_frames(5).frames)
    plan = make_plan(adm, source, SIZE)
    clips = ClipReader(adm, source, plan, latent_shape(adm, SIZE), threads=4).read(range(5))
    assert [next(clips).index for _ in range(2)] == [0, 1]
    with pytest.raises(FrameError, match="frame 2 cannot be decoded"):
        next(clips)


def test_frames_that_are_done_leave_memory(adm: Backbone) -> None:
    source = random_frames(4)
    plan = make_plan(adm, source, SIZE)
    clips = ClipReader(adm, source, plan, latent_shape(adm, SIZE), threads=2).read(range(4))
    next(clips)
    assert source.reads == [0, 1]  # no further ahead than there are threads
    clips.close()


def test_the_clock_counts_the_stages(adm: Backbone) -> None:
    clock = StageClock()
    source = random_frames(3)
    plan = make_plan(adm, source, SIZE)
    list(ClipReader(adm, source, plan, latent_shape(adm, SIZE), clock=clock).read(range(3)))
    assert set(clock.seconds) == {"read", "resize", "noise"}
    assert all(seconds > 0 for seconds in clock.seconds.values())
