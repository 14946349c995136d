"""Option groups of commands: headings in `--help`, rare options in `--help-all`, several options as one argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

_ALL = "headrace.help_all"


class GroupedOption(click.Option):
    """An option under a heading of `--help`.

    Args:
        group: the heading; "" for the first one.
        rare: whether only `--help-all` shows it.
        aliases: former names, which are still accepted, and named at the end of the help text.
    """

    def __init__(
        self, names: Sequence[str], *, group: str = "", rare: bool = False, aliases: Sequence[str] = (), **kwargs: Any
    ) -> None:
        if aliases:
            named = "names" if len(aliases) > 1 else "name"
            kwargs["help"] = f"{kwargs['help']} Also by its former {named} {' and '.join(aliases)}."
        super().__init__([*names, *aliases], **kwargs)
        self.group, self.rare, self.aliases = group, rare, frozenset(aliases)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option's present name and help text."""
        known = self.opts
        self.opts = [name for name in known if name not in self.aliases]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = known


class GroupedCommand(click.Command):
    """A command that shows grouped options under their headings, the others first, and rare ones by `--help-all`."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters, with `--help-all` if `--help` does not show every option."""
        found = super().get_params(ctx)
        if any(getattr(one, "rare", False) for one in found):
            found = [*found[:-1], _help_all(), *found[-1:]]
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options by heading, in the order of their declaration."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or (getattr(parameter, "rare", False) and not ctx.meta.get(_ALL)):
                continue
            groups.setdefault(getattr(parameter, "group", "") or "Options", []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def option(*names: str, **attributes: Any) -> Callable[..., Any]:
    """`click.option` with the attributes of GroupedOption."""
    return click.option(*names, cls=GroupedOption, **attributes)


def group(heading: str, *, rare: bool = False) -> Callable[..., Any]:
    """`option` for options under a heading; `--help-all` shows `rare` ones."""

    def grouped(*names: str, **attributes: Any) -> Any:
        return option(*names, **{"group": heading, "rare": rare, **attributes})

    return grouped


def folded(
    declared: Sequence[Callable[..., Any]],
    name: str,
    fold: Callable[[dict[str, Any]], Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that adds options to a command, which receives them as one argument.

    Args:
        declared: results of `option`, in the order of `--help`.
        name: of the command's argument.
        fold: creates the argument from the options' values by name.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        below = list(getattr(command, "__click_params__", []))

        def folding(**values: Any) -> Any:
            own_values = {parameter: values.pop(parameter) for parameter in own}
            return command(**values, **{name: fold(own_values)})

        folding.__doc__ = command.__doc__
        folding.__name__ = command.__name__
        folding.__click_params__ = []  # type: ignore[attr-defined]
        wrapped: Callable[..., Any] = folding
        for one in reversed(declared):
            wrapped = one(wrapped)
        own = [parameter.name for parameter in wrapped.__click_params__]  # type: ignore[attr-defined]
        wrapped.__click_params__[:0] = below  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _help_all() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show all options, including rarely used ones, and exit.",
    )
