"""Principal components of features, and their colours."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...store.errors import ConfigError

__all__ = ["PcaBasis", "pca_basis", "pca_colours", "pca_limits"]

# Pixels whose scores are held for percentiles; of more, every second one, every fourth one ...
_MOST_SCORES = 2**20


@dataclass(frozen=True, kw_only=True)
class PcaBasis:
    """Principal components of features.

    Attributes
    ----------
    mean
        (channel,), float64.
    components
        (component, channel), float64, orthonormal: the directions of largest variance, the largest first. The entry
        of largest magnitude of each is positive, so that equal features have equal colours.
    variances
        (component,), float64: along the components.
    total_variance
        Of all channels together.
    """

    mean: npt.NDArray[np.float64]
    components: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]
    total_variance: float

    def project(self, features: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the scores, (..., component), of features (..., channel)."""
        return (np.asarray(features, dtype=np.float64) - self.mean) @ self.components.T


def pca_basis(frames: Iterable[npt.NDArray[Any]], count: int = 3) -> PcaBasis:
    """Compute the principal components of the pixels of some frames, all together.

    The covariance of the channels is summed up in float64, one frame after the other (Chan, Golub and LeVeque's
    update), and decomposed: nothing is sampled or iterated, and memory does not grow with the number of frames.

    Parameters
    ----------
    frames
        (..., channel) each; read once.
    count
        Components, at least 1.

    Raises
    ------
    ConfigError
        When there are no frames, or fewer channels than components, frames differ in channels, or values are not
        finite.
    """
    pixels = 0
    mean: npt.NDArray[np.float64] = np.zeros(0)
    scatter: npt.NDArray[np.float64] = np.zeros((0, 0))
    for frame in frames:
        values = np.asarray(frame)
        values = values.reshape(-1, values.shape[-1]).astype(np.float64)
        if not pixels:
            mean, scatter = np.zeros(values.shape[1]), np.zeros((values.shape[1],) * 2)
        if values.shape[1] != len(mean):
            raise ConfigError(f"frames of {len(mean)} and {values.shape[1]} channels have no common components")
        own = values.mean(0)
        centred = values - own
        difference = own - mean
        scatter += centred.T @ centred
        scatter += np.outer(difference, difference) * (pixels * len(values) / (pixels + len(values)))
        mean = mean + difference * (len(values) / (pixels + len(values)))
        pixels += len(values)
    if not pixels:
        raise ConfigError("principal components need the features of at least one frame")
    if not 0 < count <= len(mean):
        raise ConfigError(f"{count} components cannot be found in features of {len(mean)} channels")
    if not np.isfinite(scatter).all():
        raise ConfigError("features with NaN or infinite values have no principal components")
    values, vectors = np.linalg.eigh(scatter / pixels)
    components = vectors[:, ::-1][:, :count].T
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1)
    return PcaBasis(
        mean=mean,
        components=components * np.sign(largest),
        variances=values[::-1][:count].clip(min=0),
        total_variance=float(values.clip(min=0).sum()),
    )


def pca_limits(
    scores: Iterable[npt.NDArray[np.float64]], percentiles: tuple[float, float] = (1.0, 99.0)
) -> npt.NDArray[np.float64]:
    """Return between which scores colours shall vary: percentiles, which a few outliers do not move.

    Parameters
    ----------
    scores
        (..., component) each, as `PcaBasis.project` gives them; read once. Beyond a million pixels, percentiles are
        those of every second pixel (every fourth, and so on), so that memory does not grow.
    percentiles
        The lower and the upper one.

    Returns
    -------
    numpy.ndarray
        (2, component): lower and upper limits.

    Raises
    ------
    ConfigError
        When there are no scores.
    """
    step = 1
    held: list[npt.NDArray[np.float64]] = []
    for some in scores:
        held.append(some.reshape(-1, some.shape[-1])[::step])
        while sum(map(len, held)) > _MOST_SCORES:
            step *= 2
            held = [item[::2] for item in held]
    if not held:
        raise ConfigError("limits of colours need the scores of at least one frame")
    return np.asarray(np.percentile(np.concatenate(held), percentiles, axis=0))


def pca_colours(features: npt.NDArray[Any], basis: PcaBasis, limits: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Show features as colours: the first three components are red, green and blue.

    Parameters
    ----------
    features
        (..., channel).
    basis
        Of three components.
    limits
        (2, 3), as `pca_limits` gives them: scores that become 0 and 255. Those beyond are cut off; a component whose
        limits are equal is 128.

    Returns
    -------
    numpy.ndarray
        (..., 3), uint8, RGB.
    """
    low, high = limits
    spread = high - low
    shares = np.full((*np.shape(features)[:-1], 3), 0.5)
    np.divide(basis.project(features) - low, spread, out=shares, where=spread > 0)
    return np.asarray(np.rint(255 * shares.clip(0, 1)), dtype=np.uint8)
