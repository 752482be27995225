"""Noise levels as signal-to-noise ratios, which are comparable between backbones."""

import math


def snr_db(alpha_bar: float) -> float:
    """Return the signal-to-noise ratio in decibels, 10 log10(abar / (1 - abar)).

    It is the power of the clean sample over that of the noise, both of unit variance; alpha_bar, in [0, 1], is the
    clean share of the power. The log-SNR of Kingma et al. (2021) is dB * ln(10) / 10.
    """
    if alpha_bar in (0, 1):
        return math.inf if alpha_bar else -math.inf
    return 10 / math.log(10) * (math.log(alpha_bar) - math.log1p(-alpha_bar))


def level_text(alpha_bar: float) -> str:
    """Return a level as text: ``-1.23 dB``."""
    return f"{snr_db(alpha_bar):.2f} dB"
