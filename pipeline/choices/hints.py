"""Words for people: hints of errors as commands and options to type, and counted nouns."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands import this module at once, and `ted --help` must not load the store
    from ...store.errors import Hint, TedError

# Commands that make units, by `UnitKind.maker`.
_MAKERS = {
    "extraction": "`ted extract`",
    "conversion": "`ted cache convert` or `ted extract --store-as`",
    "interpolation": "`ted interpolate`",
    "learning": "`ted learn-heads`",
    "token learning": "`ted learn-token`",
    "search": "`ted propagate` or `ted sweep`",
}

# What to type, by `Hint.action`; the names in braces are the hint's data, and `command` is its maker's.
_TEXTS = {
    # propagate
    "choose-workers": "give one of --workers and --scheduler",
    "learn-heads": "learn them with `ted warp`, `ted extract` and `ted learn-heads`",
    "learn-token": "learn it with `ted learn-token`",
    "name-scheduler": "add --scheduler, or leave out --worker-resource",
    "name-workers": "add --workers or --scheduler, or leave out --worker-threads",
    # store
    "extract": "extract them with `ted extract`, or choose existing ones with --preset or --feature",
    "interpolate": "`ted interpolate` writes them",
    "make-cache": "`ted extract` makes one, or name another with --cache",
    "overwrite": "use --overwrite to make it again",
    "prefer": "say which with --prefer FIELD=VALUE, or name one as BACKBONE@DIGEST",
    "prefer-field": "say which with --prefer FIELD=VALUE, such as --prefer digest=1a2b3c4d",
    "raise-precision": "--dtype float32 is the safest",
    "remake": "run `ted cache rm` on the unit, then {command} again",
    "remove-others": "remove all but one with `ted cache rm --kind {kind}`",
    "repair": "run `ted cache verify --repair`, then the same {command} again: it redoes only what is damaged",
    "resume": "run the same {command} again to finish it",
    "select-same-frames": "give the same --every and --limit as in extraction (and there the --mask, if it lies among "
    "the frames), or extract these frames",
    "select-interpolated-frames": "give the same --every and --limit as for `ted interpolate`, or run it "
    "for these frames",
    "separate": "use another cache, or, for features, another --seed",
    "verify": "run `ted cache verify`",
    # extract
    "give-weights": "then run the same command again, or give their path with --weights",
    "leave-option-out": "leave it out",
    "tune-gently": "try a lower --rate, or tune fewer weights with --tune attention-queries",
    "tune-less": "try --tune attention-queries, or a smaller --frame-size",
    "use-bundled-weights": "leave --weights out, or install the package again",
    "use-less-memory": "try --batch-size auto, a smaller --frame-size, or --dtype float16",
}


def hint_text(hint: "Hint") -> str:
    """Return the text of a hint; empty for an unknown action, such as one of a plug-in."""
    command = _MAKERS.get(hint.data.get("maker", ""), "command")
    return _TEXTS.get(hint.action, "").format(command=command, **hint.data)


def explain(error: "TedError") -> str:
    """Return an error's message and its hint.

    After a message of several lines, the hint has its own line. Characters that are not printable are escaped, so names
    in the message cannot control the terminal.
    """
    from ...store import printable

    message, text = printable(str(error), keep="\n"), hint_text(error.hint) if error.hint else ""
    if not text:
        return message
    return f"{message}\n{text}" if "\n" in message else f"{message}; {text}"


def plural(count: int, noun: str) -> str:
    """Return ``"1 unit"``, ``"2 units"``, ``"2 passes"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{'es' if noun.endswith('s') else 's'}"
