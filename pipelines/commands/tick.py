"""`headrace tick`: starts the run of a dynamic training that is due, or finds out what became of the one under way."""

from __future__ import annotations

import click

from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json


@click.command()
@click.argument("root", metavar="ROOT")
@json_option
def tick(root: str, as_json: bool) -> None:
    """Start the run that is due, if one is, and end. A schedule calls it, such as cron every ten minutes.

    However often it is called, and by however many at once, each data version gets one run at a time. A run that died
    is found here, and tried again after a while. The exit status is 75 where this call gave data versions up, whose
    runs failed too often. ROOT is a pipeline root, or its folder dynamic/NAME.
    """
    from headrace.pipelines.dynamic.drive import utc_now
    from headrace.pipelines.dynamic.settings import read
    from headrace.pipelines.dynamic.tick import raise_for_given_up
    from headrace.pipelines.dynamic.tick import tick as pump

    settings = read(root)
    pumped = pump(settings, utc_now())
    if as_json:
        print_json(pumped.to_json())
    else:
        click.echo(f"{pumped.did}: {pumped.why}")
    raise_for_given_up(settings, pumped)
