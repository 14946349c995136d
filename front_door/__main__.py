"""Entry point of the command `headrace`, and of `python -m headrace`: it handles SIGTERM before it imports the rest."""

from headrace.core.signals import end_at_sigterm


def main() -> None:
    """Runs the command; a SIGTERM that nothing else handles ends it with one line and the exit status 75."""
    end_at_sigterm()

    from headrace.pipelines import cli

    cli.main()


if __name__ == "__main__":
    main()
