"""Annotated labels over propagated ones, and masks as a target."""

import numpy as np
import pytest
import torch

from ted.propagate import AnnotatedLabel, Target
from ted.propagate.targets.base import check_annotations
from ted.propagate.targets.mask_target import MaskTarget
from ted.propagate.targets.masks import decode_mask, encode_mask
from ted.store.errors import LabelError


def cells(*channels: list[float]) -> torch.Tensor:
    """One row of cells: (channel, 1, x)."""
    return torch.tensor(channels)[:, None]


def test_a_given_object_takes_its_cells_and_leaves_the_others_as_predicted() -> None:
    # Object 2 is annotated only in the first cell; object 1 is as propagated.
    predicted = cells([0.5, 0.25, 1.0], [0.5, 0.75, 0.0], [0.0, 0.0, 0.0])
    given = AnnotatedLabel(label=cells([0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]), channels=(2,))
    expected = cells([0.0, 0.25, 1.0], [0.0, 0.75, 0.0], [1.0, 0.0, 0.0])
    assert torch.equal(given.over(predicted), expected)


def test_an_object_is_not_where_its_mask_says_it_is_not() -> None:
    # Object 1 was propagated everywhere but is annotated nowhere: others share the rest, or it becomes background.
    predicted = cells([0.25, 0.0, 0.125], [0.5, 1.0, 0.5], [0.25, 0.0, 0.375])
    given = AnnotatedLabel(label=cells([1.0] * 3, [0.0] * 3, [0.0] * 3), channels=(1,))
    assert torch.equal(given.over(predicted), cells([0.5, 1.0, 0.25], [0.0] * 3, [0.5, 0.0, 0.75]))


def test_a_soft_label_takes_its_share() -> None:
    predicted = cells([0.5, 1.0], [0.5, 0.0], [0.0, 0.0])
    given = AnnotatedLabel(label=cells([0.75, 0.5], [0.0, 0.0], [0.25, 0.5]), channels=(2,))
    merged = given.over(predicted)
    torch.testing.assert_close(merged, cells([0.375, 0.5], [0.375, 0.0], [0.25, 0.5]))
    torch.testing.assert_close(merged.sum(0), torch.ones(1, 2))


def test_channels_that_stand_alone_are_replaced() -> None:
    predicted = torch.rand(3, 4, 5)
    label = torch.rand(3, 4, 5)
    merged = AnnotatedLabel(label=label, channels=(1,), exclusive=False).over(predicted)
    assert torch.equal(merged, torch.stack([predicted[0], label[1], predicted[2]]))
    assert torch.equal(AnnotatedLabel(label=label).over(predicted), label)


def test_masks_of_one_frame_are_what_they_were() -> None:
    mask = np.random.default_rng(0).integers(0, 4, (40, 60)).astype(np.uint8) * 3
    target: Target[np.ndarray[tuple[int, int], np.dtype[np.uint8]]] = MaskTarget(masks={0: mask})
    (given,) = target.encode((10, 15)).values()
    first = encode_mask(mask, (10, 15))
    assert torch.equal(given.label, first.label)
    label = torch.rand(4, 10, 15)
    expected = decode_mask(label, first.object_ids, frame_size=(80, 120), size=(40, 60))
    np.testing.assert_array_equal(target.decode(1, label, (80, 120)), expected)
    np.testing.assert_array_equal(target.decode(0, given.label, (80, 120)), mask)


def test_masks_of_several_frames_share_channels() -> None:
    first, later = np.zeros((2, 8, 8), np.uint8)
    first[:, :4] = 7
    later[:4] = 3
    target = MaskTarget(masks={5: later, 0: first})
    assert target.object_ids == (3, 7)
    labels = target.encode((4, 4))
    assert list(labels) == [0, 5]
    assert [labels[frame].channels for frame in (0, 5)] == [(2,), (1,)]
    assert not labels[0].label[1].any()
    # Object 7 stays as propagated below the annotated object, whose mask is unchanged.
    predicted = labels[0].label
    ids = target.decode(5, labels[5].over(predicted), (8, 8))
    expected = np.where(later > 0, 3, np.where(first > 0, 7, 0))
    np.testing.assert_array_equal(ids[[0, 1, 2, 3, 6, 7]], expected[[0, 1, 2, 3, 6, 7]])
    np.testing.assert_array_equal(ids == 3, later == 3)


def test_labels_that_do_not_fit_are_refused() -> None:
    label = torch.zeros(2, 4, 5)
    for given, message in [
        ({}, "nothing is annotated"),
        ({3: AnnotatedLabel(label=label)}, "frame 3 is annotated, but the video has 3 frames"),
        ({0: AnnotatedLabel(label=torch.zeros(2, 5, 4))}, r"\(4, 5\)"),
        ({0: AnnotatedLabel(label=label), 1: AnnotatedLabel(label=torch.zeros(3, 4, 5))}, "frame 1"),
    ]:
        with pytest.raises(LabelError, match=message):
            check_annotations(given, (4, 5), 3)
