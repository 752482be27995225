"""The forms that features are stored in: their names, and which of two is the more faithful."""

import re
from dataclasses import dataclass

from .errors import ConfigError

__all__ = ["FLOAT16", "Form", "bytes_per_cell"]

_NAME = re.compile(
    r"(?P<float16>float16)(?:-for-(?P<target>.+))?"
    r"|(?P<int8>int8)"
    r"|(?P<bitround>bitround):?(?P<bits>[1-9]\d*)"
    r"|(?P<pca>pca):?(?P<components>[1-9]\d*)(?:-(?P<basis>[0-9a-f]{8}))?",
    re.ASCII,
)
_MANTISSA_BITS = 10  # of float16


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the features of a unit are stored; see docs/reference/storage-format.md.

    Attributes
    ----------
    family
        ``"float16"``, ``"int8"``, ``"bitround"`` or ``"pca"``.
    size
        Bits of the mantissa that ``bitround`` keeps (1 to 10, all of them), or components of ``pca``; else 0.
    basis
        Of ``pca`` with components that were given: the first 8 hex digits of their hash. Empty where they are fitted
        to the unit.
    target
        Of ``float16``: the name of the form that these features are to be converted to, as soon as they are complete.
        Such a staging unit is never what a reader means.
    """

    family: str
    size: int = 0
    basis: str = ""
    target: str = ""

    @classmethod
    def parse(cls, text: str) -> "Form":
        """Read a form's name, or the notation of the command line.

        >>> Form.parse("pca:64").name
        'pca64'

        Raises
        ------
        ConfigError
            For anything else.
        """
        found = _NAME.fullmatch(text)
        if found is None or int(found["bits"] or 0) > _MANTISSA_BITS:
            raise ConfigError(
                f"there is no form {text!r} of features; there are float16, int8, bitround:N with 1 to "
                f"{_MANTISSA_BITS} bits, and pca:N with N components"
            )
        family = next(name for name in ("float16", "int8", "bitround", "pca") if found[name])
        size = int(found["bits"] or found["components"] or 0)
        target = cls.parse(found["target"]).name if found["target"] else ""
        return cls(family=family, size=size, basis=found["basis"] or "", target=target)

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Name on disk: ``float16``, ``int8``, ``bitround7``, ``pca64``, ``pca64-1a2b3c4d``, ``float16-for-int8``."""
        size, basis = str(self.size or ""), f"-{self.basis}" if self.basis else ""
        return self.family + size + basis + (f"-for-{self.target}" if self.target else "")

    @property
    def is_staging(self) -> bool:
        """Whether it is float16 on its way to another form."""
        return bool(self.target)

    def staging(self) -> "Form":
        """Return the form in which features wait to be converted to this one: laid out like float16."""
        return Form(family="float16", target=self.name)

    @property
    def loss(self) -> tuple[int, int, str]:
        """What forms are sorted by, the most faithful first.

        float16, bitround of 10 to 6 bits, int8, bitround of 5 bits and fewer, then pca, the more components the
        better, and fitted ones first.
        """
        places = {"float16": 0, "int8": 2, "bitround": 1 if self.size > 5 else 3, "pca": 4}
        return places[self.family], -self.size, self.basis


#: What extraction gives.
FLOAT16 = Form(family="float16")


def bytes_per_cell(form: Form, channels: int) -> int:
    """Return the bytes that a form takes for each cell of a frame's grid, before compression (of ``bitround``)."""
    if form.family == "int8":
        return channels + 4  # and the cell's scale
    return 2 * (form.size if form.family == "pca" else channels)
