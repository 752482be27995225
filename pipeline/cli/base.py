"""How commands are declared, how they answer, and how they name the next command.

A command is a function. Its parameters are options, each declared once by its name, its type and `opt` as its default.
Options that several commands share are the fields of a class derived from `Options`.
"""

import difflib
import functools
import inspect
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import click
from click.core import ParameterSource

from ..choices.hints import explain

#: Settings of all commands: ``-h`` works, defaults are shown.
_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}
_GENERAL = "General"
_JSON = "ted.json"


class LocalPath(click.Path):
    """A path, in which ``~`` is the home folder: shells do not expand it in ``--cache=~/x``, variables and files."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as `click.Path` does."""
        home = os.path.expanduser(value)  # noqa: PTH111  a Path would forget that ./~ is no home folder
        return super().convert(home, param, ctx)


class LocalFolder(LocalPath):
    """A path; a URL, which `Path` would turn into a folder named ``s3:``, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert as `LocalPath` does."""
        if "://" in str(value):
            self.fail(f"{value} is a URL; a cache must be a local folder", param, ctx)
        return super().convert(value, param, ctx)


class _Option(click.Option):
    """An option with the title of its group on the help page."""

    title = _GENERAL


@dataclass(frozen=True)
class _Declared:
    """Settings of a parameter that its name and type do not tell."""

    flag: str | None
    title: str | None
    settings: Mapping[str, Any]

    def parameter(self, name: str, hint: Any, title: str) -> click.Parameter:
        """Return the click parameter of a name and a type."""
        settings = dict(self.settings)
        optional = get_origin(hint) in (Union, UnionType)  # of a Literal, the first
        kind = next(part for part in get_args(hint) if part is not NoneType) if optional else hint
        several = get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis
        kind = get_args(kind)[0] if several else kind
        if get_origin(kind) is Literal:
            settings.setdefault("type", click.Choice(get_args(kind)))
        elif kind is not bool:
            settings.setdefault("type", LocalPath() if kind is Path else get_args(kind) or kind)
        if isinstance(settings.get("type"), click.IntRange | click.FloatRange):
            settings.setdefault("metavar", "N")  # instead of INTEGER RANGE
        if self.flag == "":
            return click.Argument([name], nargs=-1 if several else 1, required=True, **settings)
        if kind is bool:
            settings |= {"is_flag": True, "default": settings.get("default", None if optional else False)}
        flag = self.flag or f"--{name.replace('_', '-')}"
        option = _Option([flag, name], multiple=several, **settings)
        option.title = title
        return option


def opt(text: str, default: Any = None, *, flag: str | None = None, title: str | None = None, **settings: Any) -> Any:
    """Declare an option, as the default of a command's parameter or of a field of `Options`.

    The type says what the option takes: a `bool` is a flag, a tuple can be repeated, a `Literal` is a choice. The flag
    follows from the name, unless `flag` is another, or a pair: ``"--x/--no-x"``. The title on the help page holds for
    the options that follow, too. A default that the code computes ends the text: ``[default: ...]``.
    """
    given = settings if default is None else {"default": default, **settings}
    return _Declared(flag, title, {"help": text, **given})


def arg(metavar: str, **settings: Any) -> Any:
    """Declare a required argument; a tuple takes one or several."""
    return _Declared("", None, {"metavar": metavar, **settings})


def titled(title: str, declared: Any) -> Any:
    """Return a declared option with another title on the help page."""
    return replace(declared, title=title)


class Options:
    """Options that commands share: a parameter of such a type gets an object with their values."""

    title: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __init_subclass__(cls, title: str | None = None) -> None:
        cls.title = title or cls.title

    @classmethod
    def take(cls, values: dict[str, Any]) -> Self:
        """Remove the options' values from a command's values, and return an object with them."""
        return cls(**{name: values.pop(name) for name in cls._declared()})

    @classmethod
    def parameters(cls) -> Iterator[click.Parameter]:
        """Yield the parameters of the fields."""
        hints = get_type_hints(cls)
        for name, declared in cls._declared().items():
            yield declared.parameter(name, hints[name], cls.title)

    @classmethod
    def _declared(cls) -> dict[str, _Declared]:
        members = (pair for kind in reversed(cls.__mro__) for pair in vars(kind).items())
        return {name: value for name, value in members if isinstance(value, _Declared)}


class Command(click.Command):
    """A command with examples, whose help page shows options in groups."""

    examples: list[str]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group of options under its title."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # an argument's name says enough
                groups.setdefault(getattr(parameter, "title", _GENERAL), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Group(click.Group):
    """A group of commands that answers an unknown name with the nearest one."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, context_settings=_CONTEXT, **settings)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        name = args[0]
        if not (name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name)):
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1, cutoff=0.5)
            ctx.fail(f"There is no command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


def command(
    name: str = "", *, group: click.Group | None = None, help_text: str = "", json: bool = False, config: bool = False
) -> Callable[[Callable[..., None]], Command]:
    """Return a decorator that makes a command of a function, with ``--json``, which `answer` heeds, and ``--config``.

    The docstring, or `help_text`, is the help page. It ends with examples: ``For example:`` and command lines.
    """

    def decorate(function: Callable[..., None]) -> Command:
        parameters: list[click.Parameter] = []
        shared: dict[str, type[Options]] = {}
        title = "Options"
        for parameter in inspect.signature(function).parameters.values():
            hint, declared = parameter.annotation, parameter.default
            if isinstance(hint, type) and issubclass(hint, Options):
                shared[parameter.name] = hint
                parameters += hint.parameters()
            else:
                title = declared.title or title
                parameters.append(declared.parameter(parameter.name, hint, title))
        if json:
            parameters.append(_AS_JSON.parameter("as_json", bool, title))
        if config:
            parameters.append(_CONFIG.parameter("config", Path, _GENERAL))

        @functools.wraps(function)
        def run(**values: Any) -> None:
            function(**{key: kind.take(values) for key, kind in shared.items()}, **values)

        text, _, lines = inspect.cleandoc(help_text or function.__doc__ or "").partition("For example:\n")
        made = Command(
            name or function.__name__,
            callback=run,
            params=parameters,
            help=f"{text}For example:\n\n\b\n{lines}" if lines else text,
            short_help=text.partition("\n")[0],
            context_settings=_CONTEXT,
        )
        made.examples = [line.strip() for line in lines.splitlines()]
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def _remember_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[_JSON] = value


def _load_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    from ..choices.config_file import load_config
    from . import load_command
    from .commands import COMMANDS

    values = load_config(value, context.command.name or "", {name: load_command(name) for name in COMMANDS})
    context.default_map = {**(context.default_map or {}), **values}


_AS_JSON = opt("Print the result as JSON.", flag="--json", expose_value=False, callback=_remember_json)
_CONFIG = opt(
    "Read options from this TOML file: at its top level, or in a table named like the command.",
    expose_value=False,
    callback=_load_config,
    is_eager=True,
)


def answer(values: object, *lines: str, then: Sequence[str] = ()) -> None:
    """Print the result of a command: values as JSON with ``--json``, otherwise the lines, and commands to run next."""
    shown = [*lines, next_steps(*then)] if then else lines
    text = json.dumps(values, indent=1) if click.get_current_context().meta.get(_JSON) else "\n".join(shown)
    click.echo(text, nl=bool(text))


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk that holds a folder, or will hold it."""
    return shutil.disk_usage(next(part for part in (folder, *folder.absolute().parents) if part.is_dir())).free


def fail() -> None:
    """End the command with exit code 1."""
    click.get_current_context().exit(1)


def next_command(path: str = "", **options: object) -> str:
    """Return a command to run next, such as ``"show masks"``, with options by their names in Python.

    It gets the running command's SOURCE, choice of videos and frames, and cache. Without a path, it is the running
    command with everything that it was given.
    """
    from ...store import printable
    from . import ted
    from .options import VideoChoice

    running = click.get_current_context()
    found_again = (ParameterSource.DEFAULT, ParameterSource.ENVIRONMENT)
    values = {
        parameter.name: running.params[parameter.name]
        for parameter in running.command.params
        if parameter.name in running.params
        and (not path or parameter.name in ("sources", "cache") or getattr(parameter, "title", "") == VideoChoice.title)
        and running.get_parameter_source(parameter.name) not in found_again
    } | options
    names = path.split() or running.command_path.split()[1:] or [running.command.name or ""]
    wanted: click.Command = ted
    for name in names:
        found = wanted.get_command(running, name) if isinstance(wanted, click.Group) else None
        assert found is not None, path
        wanted = found
    unknown = options.keys() - {parameter.name for parameter in wanted.params}
    assert not unknown, f"ted {path} has no {unknown}"
    parameters = sorted(wanted.params, key=lambda parameter: isinstance(parameter, click.Option))
    words = [word for one in parameters if one.name in values for word in _words(one, values[one.name])]
    return printable(shlex.join(["ted", *names, *words]))


def _words(parameter: click.Parameter, value: Any) -> Iterator[str]:
    """Yield the words that give a parameter its value."""
    flag = next((flag for flag in parameter.opts if flag.startswith("--")), None)
    if flag is not None and isinstance(parameter, click.Option) and parameter.is_flag:
        yield from [flag] if value else parameter.secondary_opts[:1]
    elif value is not None:
        for item in value if isinstance(value, tuple | list) else [value]:
            yield from [str(item)] if flag is None else [flag, str(item)]


def next_steps(*commands: str) -> str:
    """Return lines that name commands to run next."""
    return "\n".join(f"{'' if number else 'next:':<5} {line}" for number, line in enumerate(commands))


class Tally:
    """Rows of a command's result, one for each video or unit; a failed one does not stop the others.

    `note` prints a line. A `ConfigError` meets every video and ends the command, unless `stop_on_wrong_use` is off.
    """

    def __init__(self, note: Callable[[str], None], *, stop_on_wrong_use: bool = True) -> None:
        self.rows: list[dict[str, Any]] = []
        self._note, self._stop = note, stop_on_wrong_use

    @contextmanager
    def item(self, kind: str, name: str) -> Iterator[dict[str, Any]]:
        """Collect the row of an item; if it fails, its error."""
        from ...store.errors import ConfigError, TedError

        row: dict[str, Any] = {kind: name}
        try:
            yield row
        except TedError as error:
            if self._stop and isinstance(error, ConfigError):
                raise
            row = {kind: name, "error": explain(error)}
            self._note(f"Error: {name}: {row['error']}")
        self.rows.append(row)

    @property
    def done(self) -> list[dict[str, Any]]:
        """Rows of the items that did not fail."""
        return [row for row in self.rows if "error" not in row]

    @property
    def failures(self) -> int:
        """Number of items that failed."""
        return len(self.rows) - len(self.done)

    def finish(self) -> None:
        """End the command with exit code 1 if an item failed."""
        if self.failures:
            fail()
