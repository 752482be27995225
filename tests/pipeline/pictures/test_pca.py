"""Principal components of features, and their colours."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from ted.pipeline.pictures.pca import pca_basis, pca_colours, pca_limits
from ted.store.errors import ConfigError

Features = npt.NDArray[np.float64]


def features(frames: int = 4, channels: int = 9, offset: float = 0.0, seed: int = 0) -> Features:
    """Return correlated channels of falling variance, so that components are distinct."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((channels, channels)) * 0.6 ** np.arange(channels)[:, None]
    values: Features = rng.standard_normal((frames, 5, 6, channels)) @ mixing + offset
    return values


def once(frames: Features) -> Iterator[Features]:
    yield from frames


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_basis_equals_a_singular_value_decomposition(offset: float) -> None:
    values = features(offset=offset)
    basis = pca_basis(once(values))
    pixels = values.reshape(-1, 9)
    _, lengths, rows = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    signs = np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], axis=1))
    np.testing.assert_allclose(basis.components, (rows * signs)[:3], atol=1e-8)
    np.testing.assert_allclose(basis.variances, lengths[:3] ** 2 / len(pixels), rtol=1e-8)
    np.testing.assert_allclose(basis.total_variance, pixels.var(0).sum(), rtol=1e-8)
    np.testing.assert_allclose(basis.mean, pixels.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(basis.components @ basis.components.T, np.eye(3), atol=1e-12)
    scores = basis.project(values)
    assert scores.shape == (4, 5, 6, 3)
    np.testing.assert_allclose(scores.reshape(-1, 3).var(0), basis.variances, rtol=1e-8)


def test_how_pixels_are_cut_into_frames_does_not_matter() -> None:
    values = features()
    uneven = [values[0], values[1:3], values[3, :2], values[3, 2:]]
    np.testing.assert_allclose(pca_basis(uneven).components, pca_basis(values).components, atol=1e-12)
    np.testing.assert_array_equal(pca_basis(values).components, pca_basis(values).components)


def test_signs_do_not_depend_on_signs_of_the_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    values, real = features(), np.linalg.eigh
    straight = pca_basis(values)

    def flipped(matrix: Features) -> tuple[Features, Features]:
        lengths, vectors = real(matrix)
        return lengths, -vectors

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    np.testing.assert_array_equal(pca_basis(values).components, straight.components)


def test_one_frame_at_a_time_is_held() -> None:
    alive = 0

    class Counted(np.ndarray):  # type: ignore[type-arg]
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def frames() -> Iterator[Features]:
        nonlocal alive
        for values in features(frames=9):
            alive += 1
            assert alive <= 2
            yield np.array(values).view(Counted)

    pca_basis(frames())


def test_half_precision_is_summed_in_double() -> None:
    values = features(offset=3.0).astype(np.float16)
    np.testing.assert_array_equal(pca_basis(values).components, pca_basis(values.astype(np.float64)).components)


def test_limits_are_percentiles_and_outliers_do_not_move_them() -> None:
    scores = np.random.default_rng(1).standard_normal((4, 50, 60, 3))
    expected = np.percentile(scores.reshape(-1, 3), (1, 99), axis=0)
    np.testing.assert_array_equal(pca_limits(once(scores)), expected)
    wild = scores.copy()
    wild[0, :2, :3] = 1e6
    np.testing.assert_allclose(pca_limits(wild), expected, atol=0.1)


def test_colours_span_the_limits() -> None:
    values = features()
    basis = pca_basis(values)
    scores = basis.project(values)
    limits = pca_limits(scores)
    colours = pca_colours(values, basis, limits)
    assert colours.shape == (4, 5, 6, 3)
    assert colours.dtype == np.uint8
    expected = np.rint(255 * np.clip((scores - limits[0]) / (limits[1] - limits[0]), 0, 1))
    np.testing.assert_array_equal(colours, expected)
    assert colours.min(axis=(0, 1, 2)).tolist() == [0, 0, 0]
    assert colours.max(axis=(0, 1, 2)).tolist() == [255, 255, 255]
    # Other frames have the same basis.
    np.testing.assert_array_equal(pca_colours(values[2], basis, limits), colours[2])


def test_features_without_variance_are_grey() -> None:
    flat = np.ones((2, 3, 3, 4))
    basis = pca_basis(flat)
    assert (pca_colours(flat, basis, pca_limits([basis.project(flat)])) == 128).all()


def test_what_has_no_components_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one frame"):
        pca_basis([])
    with pytest.raises(ConfigError, match="at least one frame"):
        pca_limits([])
    with pytest.raises(ConfigError, match="3 components cannot be found in features of 2 channels"):
        pca_basis(features(channels=2))
    with pytest.raises(ConfigError, match="of 9 and 8 channels"):
        pca_basis([features()[0], features(channels=8)[0]])
    broken = features()
    broken[1, 2, 3, 4] = np.nan
    with pytest.raises(ConfigError, match="NaN"):
        pca_basis(broken)
