"""Lists on the command line: ``0:1:0.1``, ``5,10,15``, and features with several timesteps and taps."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from ....store import FeatureChoice
from ....store.errors import ConfigError
from ...choices.features import parse_choice, parse_job

#: A range with more values than this is treated as a typing error.
_MOST_VALUES = 1000


def parse_numbers(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    """Read numbers and inclusive ranges ``START:STOP:STEP``, separated by commas.

    Ranges are computed in decimals: ``0:1:0.1`` contains 0.3, and not 0.30000000000000004. The numbers are in order of
    appearance, without repetitions. Raises ConfigError, which names the parameter, for anything else, an empty list or
    range, or more than 1000 values.
    """
    return tuple(dict.fromkeys(float(value) for value in _decimals(name, texts)))


def parse_integers(name: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Read whole numbers and ranges of them, as `parse_numbers`; the step of ``START:STOP`` is 1."""
    values = _decimals(name, texts, step=Decimal(1))
    for value in values:
        if value != value.to_integral_value():
            raise ConfigError(f"{name} takes whole numbers, not {value}")
    return tuple(dict.fromkeys(int(value) for value in values))


def parse_texts(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Read texts separated by commas, each once."""
    items = [item.strip() for text in texts for item in text.split(",")]
    if "" in items:
        raise ConfigError(f"{name} has an empty value in {','.join(texts)!r}")
    return tuple(dict.fromkeys(items))


def parse_booleans(name: str, texts: Sequence[str]) -> tuple[bool, ...]:
    """Read ``true`` and ``false``, separated by commas; raises ConfigError for anything else."""
    found = parse_texts(name, [text.lower() for text in texts])
    for item in found:
        if item not in ("true", "false"):
            raise ConfigError(f"{name} takes true, false or true,false, not {item!r}")
    return tuple(item == "true" for item in found)


def parse_features(texts: Sequence[str]) -> tuple[FeatureChoice, ...]:
    """Read ``BACKBONE[@DIGEST]:TIMESTEP[,TIMESTEP...]:TAP[,TAP...]``: every combination, each once, in order."""
    jobs = [parse_job(text) for text in texts]
    return tuple(
        dict.fromkeys(
            parse_choice(f"{job.backbone}:{timestep}:{tap}")
            for job in jobs
            for timestep in job.timesteps
            for tap in job.taps
        )
    )


def _decimals(name: str, texts: Sequence[str], step: Decimal | None = None) -> list[Decimal]:
    items = [item.strip() for text in texts for item in text.split(",")]
    values: list[Decimal] = []
    for item in items:
        bounds = [_decimal(name, item, part) for part in item.split(":")]
        if len(bounds) == 2 and step is not None:
            bounds.append(step)
        values += bounds if len(bounds) == 1 else _range(name, item, bounds)
    return values


def _range(name: str, item: str, bounds: Sequence[Decimal]) -> list[Decimal]:
    if len(bounds) != 3:
        raise ConfigError(f"{name} {item!r} is not START:STOP:STEP, such as 0:1:0.1")
    start, stop, step = bounds
    if step <= 0 or stop < start:
        raise ConfigError(f"{name} {item!r} holds no value: START:STOP:STEP needs a positive step and STOP >= START")
    count = int((stop - start) / step) + 1
    if count > _MOST_VALUES:
        raise ConfigError(f"{name} {item!r} holds {count} values, more than {_MOST_VALUES}; take a larger step")
    return [start + step * number for number in range(count)]


def _decimal(name: str, item: str, text: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise ConfigError(f"{name} {item!r} is no number, list such as 0,0.4,1 or range such as 0:1:0.1")
    return value
