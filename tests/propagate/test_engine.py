import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ted.propagate import Part, PropagationSettings, TrackingSession, part_weights, propagate
from ted.propagate import session as session_module
from ted.propagate.kernels.cosine import kernel as cosine_kernel
from ted.propagate.kernels.cosine.pairs import unit_vectors
from ted.propagate.labels import ContextLabels
from ted.store.errors import ConfigError, CorruptUnitError, LabelError
from tests.propagate.helpers import FrameAffinity, affinities, label_of
from tests.propagate.volumes import Counting, Untouchable, volume
from tests.references import dense_propagation as dense


def smooth(frames: int, grid: tuple[int, int], channels: int, seed: int) -> npt.NDArray[np.float16]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 3, 3, 4, generator=generator)
    values = torch.nn.functional.interpolate(coarse, size=(frames, *grid), mode="trilinear")[0]
    values = values + 0.1 * torch.randn(values.shape, generator=generator)
    return values.permute(1, 2, 3, 0).contiguous().numpy().astype(np.float16)


def first_label(grid: tuple[int, int], channels: int = 3) -> torch.Tensor:
    owners = torch.randint(channels, grid, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.one_hot(owners, channels).permute(2, 0, 1).float()


def two_parts(arrays: list[npt.NDArray[Any]], alpha: float) -> list[Part]:
    return [(volume(array), weight) for array, weight in zip(arrays, part_weights(alpha), strict=True)]


@pytest.mark.parametrize("context", [0, 1, 3, 28])
@pytest.mark.parametrize("renormalize", [True, False])
def test_each_step_equals_the_dense_reference(context: int, renormalize: bool) -> None:
    grid, settings = (9, 12), PropagationSettings(top_k=6, radius=4, context=context, renormalize=renormalize)
    arrays = [smooth(8, grid, 20, seed=1), smooth(8, grid, 7, seed=2)]
    fused = dense.fuse(arrays, part_weights(0.4), renormalize)
    labels = {0: first_label(grid)}
    compared = 0
    for number, step in enumerate(affinities(two_parts(arrays, 0.4), settings), 1):
        assert step.frame == number
        assert step.context == (0, *range(max(1, number - context), number))
        sims = dense.similarities(fused[step.frame], fused[list(step.context)], settings.radius)
        theirs, values, gaps = dense.best(sims, settings.top_k)
        clear = gaps > 1e-5
        compared += int(clear.sum())
        ours = step.affinity.sources.numpy()
        np.testing.assert_array_equal(np.sort(ours[clear], 1), np.sort(theirs[clear], 1))
        # Both are given the same labels, so that one frame's ties do not count against the next.
        given = torch.stack([labels[frame] for frame in step.context])
        label = label_of(step.affinity, given, settings.temperature)
        expected = dense.propagate_frame(theirs, values, given.double().numpy(), settings.temperature)
        difference = np.abs(label.numpy() - expected).reshape(3, -1)
        assert difference[:, clear].max() < 1e-5
        labels[step.frame] = label
    assert len(labels) == 8
    assert compared > 0.95 * 7 * 108


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_whole_videos_equal_the_dense_reference(alpha: float) -> None:
    grid, settings = (9, 12), PropagationSettings(top_k=5, radius=3, context=4)
    arrays = [smooth(12, grid, 20, seed=3), smooth(12, grid, 7, seed=4)]
    expected = dense.propagate_video(
        arrays, part_weights(alpha), first_label(grid).numpy(), temperature=0.2, top_k=5, radius=3, context=4
    )
    produced = dict(propagate(two_parts(arrays, alpha), first_label(grid), settings))
    assert list(produced) == list(range(12))
    for frame, label in produced.items():
        assert label.dtype == torch.float32
        difference = np.abs(label.numpy() - expected[frame]).max(0)
        assert (difference < 1e-5).mean() > 0.99
        assert (label.numpy().argmax(0) == expected[frame].argmax(0)).mean() > 0.999


def test_different_grids_meet_on_the_finer() -> None:
    fine, coarse = smooth(4, (8, 12), 9, seed=5), smooth(4, (4, 6), 6, seed=6)
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).float().permute(0, 3, 1, 2), size=(8, 12), mode="bilinear", align_corners=False
    )
    expected = dense.propagate_video(
        [enlarged.permute(0, 2, 3, 1).numpy(), fine],
        (0.4, 0.6), first_label((8, 12)).numpy(), temperature=0.2, top_k=10, radius=3, context=28,
    )  # fmt: skip
    parts = [(volume(coarse), 0.4), (volume(fine), 0.6)]
    for frame, label in propagate(parts, first_label((8, 12)), PropagationSettings(radius=3)):
        assert (np.abs(label.numpy() - expected[frame]).max(0) < 1e-5).mean() > 0.98


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_ends_of_alpha_read_one_part_only(alpha: float) -> None:
    values, settings = smooth(5, (6, 7), 8, seed=7), PropagationSettings(radius=2)
    video, image = (volume(values), Untouchable()) if alpha else (Untouchable(), volume(values))
    weights = part_weights(alpha)
    both = dict(propagate([(video, weights[0]), (image, weights[1])], first_label((6, 7)), settings))
    alone = dict(propagate([(volume(values), 1.0)], first_label((6, 7)), settings))
    for frame, label in alone.items():
        assert torch.equal(label, both[frame])


def test_affinities_serve_several_labels_and_temperatures() -> None:
    parts, settings = [(volume(smooth(5, (6, 7), 8, seed=8)), 1.0)], PropagationSettings(radius=2)
    session = TrackingSession(parts, settings)
    assert [step.frame for step in session.affinities(annotated=(0,))] == [1, 2, 3, 4]
    for channels, temperature in ((2, 0.2), (5, 0.05)):
        label = first_label((6, 7), channels)
        own = PropagationSettings(radius=2, temperature=temperature)
        expected = dict(propagate(parts, label, own))
        session.settings = own
        session.annotate(0, label)
        for frame, produced in session.labels():
            assert torch.equal(produced, expected[frame])
        assert (session.last_run.searched, session.last_run.reused) == (0, 4)


def test_a_still_video_keeps_its_label() -> None:
    frame = smooth(1, (7, 9), 30, seed=9)
    settings = PropagationSettings(temperature=1e-4, top_k=4, radius=3, context=3)
    for _, label in propagate([(volume(np.repeat(frame, 6, axis=0)), 1.0)], first_label((7, 9)), settings):
        torch.testing.assert_close(label, first_label((7, 9)), atol=1e-4, rtol=0)


def test_a_moving_pattern_takes_its_label_along() -> None:
    # Every column of the first frame is unlike the others; it moves right by one cell a frame, around the edge.
    first = np.random.default_rng(10).standard_normal((1, 10, 40)).astype(np.float32)
    values = np.stack([np.roll(np.broadcast_to(first, (4, 10, 40)), shift, axis=1) for shift in range(5)])
    label = torch.zeros(2, 4, 10)
    label[1, :, 2:5] = 1
    label[0] = 1 - label[1]
    settings = PropagationSettings(temperature=0.01, radius=9, top_k=8)
    for frame, produced in propagate([(volume(values), 1.0)], label, settings):
        torch.testing.assert_close(produced, label.roll(frame, dims=2), atol=1e-3, rtol=0)


def test_a_video_of_one_frame_yields_its_label_alone() -> None:
    parts, label = [(volume(smooth(1, (4, 5), 6, seed=11)), 1.0)], first_label((4, 5))
    produced = list(propagate(parts, label, PropagationSettings()))
    assert [frame for frame, _ in produced] == [0]
    assert torch.equal(produced[0][1], label)
    assert list(affinities(parts, PropagationSettings())) == []


class Alive:
    """Counts how many of the tensors that a function returned are still in memory at once."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self.function = function
        self.references: list[weakref.ref[torch.Tensor]] = []
        self.most = 0

    def __call__(self, *arguments: Any) -> torch.Tensor:
        result = self.function(*arguments)
        self.references.append(weakref.ref(result))
        self.most = max(self.most, sum(reference() is not None for reference in self.references))
        return result


def test_frames_are_read_once_and_dropped_with_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    part, context = Counting(smooth(30, (5, 6), 4, seed=13), chunk=2), 3
    normalised = Alive(unit_vectors)
    monkeypatch.setattr(cosine_kernel, "unit_vectors", normalised)
    settings = PropagationSettings(context=context, radius=2)
    for done, _ in enumerate(propagate([(part, 1.0)], first_label((5, 6)), settings), 1):
        assert len(part.reads) <= done + 4
    assert part.reads == list(range(30))
    assert len(normalised.references) == 30
    # The context is copied into one tensor; beside it there are the frame, the one before, and the next.
    assert normalised.most <= 4


def test_labels_are_dropped_with_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ContextLabels] = []

    class Watched(ContextLabels):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(session_module, "ContextLabels", Watched)
    settings = PropagationSettings(context=2, radius=2)
    for _ in propagate([(volume(smooth(20, (4, 5), 6, seed=14)), 1.0)], first_label((4, 5)), settings):
        pass
    tensors = [value for value in vars(made[0]).values() if isinstance(value, torch.Tensor)]
    assert sum(tensor.numel() for tensor in tensors) == (1 + 2) * 20 * 3


def test_leaving_early_is_clean() -> None:
    frames = propagate([(volume(smooth(9, (4, 5), 6, seed=15)), 1.0)], first_label((4, 5)), PropagationSettings())
    next(frames)
    next(frames)
    frames.close()  # type: ignore[attr-defined]


def test_errors_that_can_be_known_come_at_once() -> None:
    values = smooth(3, (4, 5), 6, seed=16)
    with pytest.raises(LabelError, match=r"\(4, 5\)"):
        propagate([(volume(values), 1.0)], first_label((5, 4)), PropagationSettings())
    with pytest.raises(LabelError, match="channel"):
        propagate([(volume(values), 1.0)], torch.zeros(4, 5), PropagationSettings())
    with pytest.raises(ConfigError):
        propagate([(volume(values), 0.0)], first_label((4, 5)), PropagationSettings())
    with pytest.raises(ConfigError):
        propagate([], first_label((4, 5)), PropagationSettings())


def test_features_that_are_not_finite_stop_at_their_frame() -> None:
    values = smooth(5, (4, 5), 6, seed=17)
    values[3, 0, 0, 0] = np.nan
    frames = propagate([(volume(values, chunk=1), 1.0)], first_label((4, 5)), PropagationSettings())
    assert [next(frames)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CorruptUnitError, match="frame 3"):
        next(frames)


def test_a_step_names_its_frames() -> None:
    steps = list(affinities([(volume(smooth(5, (4, 5), 6, seed=18)), 1.0)], PropagationSettings(context=2)))
    assert [(step.frame, step.context) for step in steps] == [(1, (0,)), (2, (0, 1)), (3, (0, 1, 2)), (4, (0, 2, 3))]
    for step in steps:
        assert isinstance(step, FrameAffinity)
        assert step.affinity.sources.max() < len(step.context) * 20
