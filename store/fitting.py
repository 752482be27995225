"""What a form fits to a unit before its frames can be encoded: arrays that all frames share."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .forms import Form

__all__ = ["check_components", "check_form_fits", "fit"]


def fit(form: Form, frames: Iterable[NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.float32]]:
    """Fit a form to the frames of a unit, one after the other.

    Sums are kept in float64, whatever the number of frames; a form without parameters reads none.

    Parameters
    ----------
    form
        The form.
    frames
        (y, x, channel) each.

    Returns
    -------
    dict
        Of ``int8``: ``channel_mean`` and ``channel_scale``, (channel) each, the mean over all pixels of all frames and
        the square root of the standard deviation. The square root is where the error of a cosine is least: it weighs
        a channel's rounding error by the channel's own size.
        Of ``pca``: ``components``, (component, channel), the leading eigenvectors of the second moment, which is not
        centred: a mean that is taken away changes all cosines. The largest entry of each is positive.
        Nothing of other forms.

    Raises
    ------
    ConfigError
        For more components than there are channels.
    """
    if form.family == "int8":
        return _fit_channels(frames)
    if form.family == "pca":
        return {"components": _fit_components(frames, form)}
    return {}


def check_form_fits(form: Form, channels: int) -> None:
    """Refuse a form with more components than there are channels (ConfigError)."""
    if form.family == "pca" and form.size > channels:
        raise ConfigError(f"{form} has more components than the features have channels, which are {channels}")


def check_components(components: NDArray[np.floating[Any]]) -> None:
    """Refuse components (component, channel) that are no orthonormal basis: cosines would not be those of features.

    Raises
    ------
    ConfigError
        For those, and for arrays of another shape.
    """
    if components.ndim != 2 or not 0 < components.shape[0] <= components.shape[1]:
        raise ConfigError(f"components must be (component, channel), no more than channels, not {components.shape}")
    rows = components.astype(np.float64)
    if not np.allclose(rows @ rows.T, np.eye(len(rows)), rtol=0, atol=1e-3):
        raise ConfigError("components must be orthonormal: rows of length 1 at right angles (within 0.001)")


def _fit_channels(frames: Iterable[NDArray[np.floating[Any]]]) -> dict[str, NDArray[np.float32]]:
    total: Any = 0.0
    squares: Any = 0.0
    count = 0
    for frame in frames:
        pixels = frame.reshape(-1, frame.shape[-1]).astype(np.float64)
        total = total + pixels.sum(0)
        squares = squares + np.einsum("pc,pc->c", pixels, pixels)
        count += len(pixels)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    # A constant channel is its mean; what rounding leaves of its deviation means nothing.
    constant = deviation <= 1e-7 * np.abs(mean)
    scale = np.sqrt(np.where(constant, 1, deviation))
    return {"channel_mean": mean.astype(np.float32), "channel_scale": scale.astype(np.float32)}


def _fit_components(frames: Iterable[NDArray[np.floating[Any]]], form: Form) -> NDArray[np.float32]:
    moment: Any = 0.0
    for frame in frames:
        check_form_fits(form, frame.shape[-1])
        pixels = frame.reshape(-1, frame.shape[-1]).astype(np.float64)
        moment = moment + pixels.T @ pixels
    vectors = np.linalg.eigh(moment).eigenvectors[:, ::-1][:, : form.size].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    components: NDArray[np.float32] = (vectors * np.sign(largest)).astype(np.float32)
    return components
