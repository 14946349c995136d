"""`headrace completion`: prints the script with which a shell completes commands, options and paths."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

VARIABLE = "_HEADRACE_COMPLETE"


class _PathsToo(ShellComplete):
    """Completes paths wherever click has no completion: most values here are paths of data."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Click's completions, or else the paths that start with `incomplete`."""
        found = super().get_completions(args, incomplete)
        return found or ([] if incomplete.startswith("-") else [CompletionItem(incomplete, type="file")])


class _Bash(_PathsToo, BashComplete):
    pass


class _Zsh(_PathsToo, ZshComplete):
    pass


class _Fish(_PathsToo, FishComplete):
    pass


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Once per shell:
      bash: echo 'eval "$(headrace completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(headrace completion zsh)"' >> ~/.zshrc
      fish: headrace completion fish > ~/.config/fish/completions/headrace.fish
    """
    click.echo(SHELLS[shell](click.Command("headrace"), {}, "headrace", VARIABLE).source())


def answer(command: click.Command, instruction: str) -> int:
    """Answers a shell's request for completions; returns the exit status.

    Args:
        command: whose words are completed.
        instruction: value of VARIABLE from the script: SHELL_complete.
    """
    shell = SHELLS.get(instruction.removesuffix("_complete"))
    if shell is None:
        return 1
    click.echo(shell(command, {}, "headrace", VARIABLE).complete())
    return 0
