import dataclasses
from typing import Any

import pytest

from ted.propagate.settings import PropagationSettings, part_weights
from ted.store.errors import ConfigError


def test_defaults_are_the_papers_for_davis() -> None:
    assert dataclasses.asdict(PropagationSettings()) == {
        "alpha": 0.4, "temperature": 0.2, "top_k": 10, "radius": 15, "context": 28, "renormalize": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", -0.1), ("alpha", 1.1), ("alpha", float("nan")), ("temperature", 0.0), ("temperature", -1.0),
        ("temperature", float("inf")), ("temperature", float("nan")), ("top_k", 0), ("top_k", 2.5), ("top_k", True),
        ("radius", -1), ("context", -1), ("context", 1.0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        PropagationSettings(**{name: value})


def test_ends_of_ranges_are_accepted() -> None:
    PropagationSettings(alpha=0, temperature=1e-6, top_k=1, radius=0, context=0)
    PropagationSettings(alpha=1)


def test_part_weights_of_alpha() -> None:
    assert part_weights(0.25) == (0.25, 0.75)
    assert part_weights(1.0) == (1.0, 0.0)
    with pytest.raises(ConfigError, match="alpha"):
        part_weights(1.5)
