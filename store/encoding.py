"""Features into their stored form and back: pure functions of arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numcodecs.bitround import BitRound
from numpy.typing import NDArray

from .forms import Form

__all__ = ["decode", "encode"]

_LEVELS = 127
_TINY = np.finfo(np.float32).tiny


def encode(
    form: Form, features: NDArray[np.float16], parameters: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[Any]]:
    """Bring features into a form.

    Parameters
    ----------
    form
        The form.
    features
        (..., channel), finite.
    parameters
        The arrays that all frames of a unit share, as `fit` gives them.

    Returns
    -------
    dict
        The arrays of frames, by name. ``features`` is of the same shape, save that ``pca`` has (..., component); it
        holds infinities where components are too large for float16.
    """
    if form.family == "int8":
        return _to_int8(features, parameters["channel_mean"], parameters["channel_scale"])
    if form.family == "bitround":
        return {"features": _round_bits(features, form.size)}
    if form.family == "pca":
        with np.errstate(over="ignore"):
            return {"features": (features.astype(np.float32) @ parameters["components"].T).astype(np.float16)}
    return {"features": features}


def decode(
    form: Form, stored: Mapping[str, NDArray[Any]], parameters: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.floating[Any]]:
    """Bring stored features back to what propagation reads.

    Returns
    -------
    numpy.ndarray
        (..., channel), float16 or, of ``int8``, float32. Of ``pca`` the components, (..., component): their cosines are
        those of the features that they stand for, for the basis is orthonormal.
    """
    if form.family != "int8":
        return stored["features"]
    scale = stored["scale"][..., None]
    features: NDArray[np.float32] = stored["features"].astype(np.float32)
    features *= scale
    features *= parameters["channel_scale"]
    features += parameters["channel_mean"]
    features *= scale != 0
    return features


def _to_int8(
    features: NDArray[np.float16], mean: NDArray[np.float32], channel_scale: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """Quantise deviations from the channels' means, in units of the channels' scales, by a step for each pixel."""
    units = features.astype(np.float32)
    units -= mean
    units /= channel_scale
    scale = np.maximum(np.abs(units).max(-1) / np.float32(_LEVELS), _TINY)
    units /= scale[..., None]
    np.rint(units, out=units)
    # A vector of zeros has no direction, and must not get one by rounding: a scale of 0 stands for it.
    scale[~features.any(-1)] = 0
    units *= (scale != 0)[..., None]
    return {"features": np.clip(units, -_LEVELS, _LEVELS, out=units).astype(np.int8), "scale": scale}


def _round_bits(features: NDArray[np.float16], bits: int) -> NDArray[np.float16]:
    codec = BitRound(keepbits=bits)
    rounded: NDArray[np.float16] = codec.decode(codec.encode(np.ascontiguousarray(features))).reshape(features.shape)
    # The largest values round up to infinity: they become the largest that these bits can tell.
    largest = np.float16((2 - 2.0**-bits) * 2**15)
    return np.clip(rounded, -largest, largest)
