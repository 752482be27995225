from typing import Any

import pytest

from ted.propagate import Fusion, PropagationSettings, WeightedSettings, part_weights
from ted.store.errors import ConfigError


def test_defaults_are_the_papers_for_davis() -> None:
    assert PropagationSettings().to_json() == {
        "temperature": 0.2, "top_k": 10, "radius": 15, "context": 28, "renormalize": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0), ("temperature", -1.0),
        ("temperature", float("inf")), ("temperature", float("nan")), ("top_k", 0), ("top_k", 2.5), ("top_k", True),
        ("radius", -1), ("context", -1), ("context", 1.0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        PropagationSettings(**{name: value})


def test_ends_of_ranges_are_accepted() -> None:
    PropagationSettings(temperature=1e-6, top_k=1, radius=0, context=0)


def test_part_weights_of_alpha() -> None:
    assert part_weights(0.25) == (0.25, 0.75)
    assert part_weights(1.0) == (1.0, 0.0)
    for alpha in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="alpha"):
            part_weights(alpha)


def test_weighted_settings_make_the_fusion_of_the_parts_with_a_weight() -> None:
    settings = WeightedSettings(weights=(0.0, 2.0, 1.0), settings=PropagationSettings(context=3, renormalize=False))
    assert settings.used_parts == (1, 2)
    assert settings.fusion() == Fusion(weights=(0.0, 2.0, 1.0), context=3, renormalize=False)
    assert settings.of_parts((1, None)).fusion() == Fusion(weights=(2.0, 0.0), context=3, renormalize=False)
    for weights in ((), (0.0, 0.0), (1.0, -1.0), (float("inf"),)):
        with pytest.raises(ConfigError, match="weights"):
            WeightedSettings(weights=weights, settings=PropagationSettings())


def test_records_name_the_rules_that_differ_from_the_defaults() -> None:
    settings = PropagationSettings(window="circle", unrestricted_first=True, context_fill=True)
    assert settings.to_json() == PropagationSettings().to_json() | {
        "window": "circle", "unrestricted_first": True, "context_fill": True,
    }  # fmt: skip
    for wrong in ({"window": "round"}, {"window": "circle", "radius": 0}):
        with pytest.raises(ConfigError, match="window"):
            PropagationSettings(**wrong)  # type: ignore[arg-type]
