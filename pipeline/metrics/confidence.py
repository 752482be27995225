"""Confidence of tracked objects, from the entropy and the mass of their soft labels: arrays in, numbers out.

Confidence is certainty times presence, in [0, 1]. Presence is ``min(1, mass / annotated mass)``: how much of the label
is left. Certainty is 1 where the label is all in one class or one cell, and 0 where it is spread evenly.
"""

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float64]


def certainty_of_regions(label: _Array, *, exclusive: bool) -> _Array:
    """Return the certainty of objects that cover cells: masks, parts and boxes.

    In each cell, certainty is ``1 - H / log(n)``, with the entropy H of n classes. Cells are
    weighted by the object's soft label in them.

    Parameters
    ----------
    label
        (channel, y, x), not negative.
    exclusive
        Whether the channels are the classes of a cell, the background first. Otherwise each channel is an object on its
        own, with values up to 1, and the classes of a cell are the object and its absence.

    Returns
    -------
    numpy.ndarray
        (object,), in [0, 1]; 0 for an object without label.
    """
    if exclusive:
        total = label.sum(0)
        classes = np.divide(label, total, out=np.zeros_like(label), where=total > 0)
        weights, certain = label[1:], 1 - _entropy(classes) / np.log(max(2, len(label)))
    else:
        shares = np.clip(label, 0, 1)
        weights, certain = label, 1 - _entropy(np.stack([shares, 1 - shares])) / np.log(2)
    mass = weights.sum((1, 2))
    return _ratio((weights * certain).sum((1, 2)), mass)


def certainty_of_places(label: _Array) -> _Array:
    """Return the certainty of things at one place: points and joints.

    It is ``1 - H / log(n)``, with the entropy H of the label's distribution over the n cells.

    Parameters
    ----------
    label
        (thing, y, x), not negative.

    Returns
    -------
    numpy.ndarray
        (thing,), in [0, 1]; 0 for a thing without label.
    """
    cells = label.reshape(len(label), -1)
    mass = cells.sum(1)
    spread = _entropy(_ratio(cells, mass[:, None]).T) / np.log(max(2, cells.shape[1]))
    return np.where(mass > 0, 1 - spread, 0.0)


def presence(mass: _Array, annotated: _Array) -> _Array:
    """Return how much of a label is left, at most 1; 0 where nothing was annotated."""
    return np.minimum(_ratio(mass, annotated), 1.0)


def _entropy(shares: _Array) -> _Array:
    """Return the entropy over the first axis, in nats."""
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(0))


def _ratio(value: _Array, by: _Array) -> _Array:
    return np.asarray(np.divide(value, by, out=np.zeros(np.broadcast(value, by).shape), where=by > 0))
