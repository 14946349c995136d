"""Options of Kafka clients: the brokers, and properties of librdkafka."""

from __future__ import annotations

from typing import Any

import click

from headrace.pipelines.commands.option_groups import folded, option

bootstrap = click.option("--bootstrap", required=True, metavar="HOST:PORT[,...]", help="Brokers.")


def _properties(given: dict[str, Any]) -> dict[str, str]:
    from headrace.components.stream.kafka.config import properties_from, read_properties

    file = given["property_file"]
    return {**(read_properties(file) if file else {}), **properties_from(given["properties"])}


# A command receives them as `properties`, by name.
properties = folded(
    (
        option(
            "--property", "properties", multiple=True, metavar="NAME=VALUE",
            help="Property of librdkafka, such as security.protocol=SASL_SSL (repeatable).",
        ),
        option(
            "--property-file", default=None, metavar="FILE",
            help="File of such properties, one per line; for passwords, which a command line would show.",
        ),
    ),
    "properties",
    _properties,
)  # fmt: skip
