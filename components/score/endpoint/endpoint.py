"""A model behind an HTTP endpoint, found out about once and told to all who score rows with it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote

from headrace.components.score.batch.part_result import Scores, load_once
from headrace.components.score.config import ScoreConfig
from headrace.components.score.endpoint import wire
from headrace.components.score.endpoint.client import Client, Response
from headrace.components.score.options import EndpointOptions
from headrace.core.errors import UsageError
from headrace.core.saved_model.binding import declared, keyed, with_key_input, with_optional
from headrace.core.saved_model.find import Source, find_source
from headrace.core.saved_model.interface import Takes

_PREDICT = ":predict"


@dataclass(frozen=True)
class Endpoint:
    """A model behind an endpoint, as whoever starts the work found it; workers are told, and do not ask again.

    No token is in it: each process that asks reads its own.

    Attributes:
        options: how it is asked.
        takes: what it takes and gives, and from which columns.
        model_version: which model answers.
        answers_as: what each answer is to say of the model's version; "" where it is not known before.
        begun: seconds since 1970, from which its deadline counts.
    """

    options: EndpointOptions
    takes: Takes
    model_version: str
    answers_as: str = ""
    begun: float = 0.0

    @classmethod
    def of(cls, config: ScoreConfig, options: EndpointOptions) -> Self:
        """Asks the endpoint what its model takes, as TensorFlow Serving and our server say it.

        One that does not say it needs the model at hand, a Model or a SavedModel, which is loaded to be looked at.

        Args:
            config: of the work: the model if it is at hand, the signature, the key and the inputs' columns.
            options: how to ask.

        Raises:
            UsageError: it does not say it and no model is given; there is none where one is said to be; another version
                of the Model answers; or no token.
            DataError: what it takes cannot be held against columns.
            PlatformError: it does not answer.
        """
        begun = time.time()
        source = find_source(config.model, name="model") if config.model else None
        client = Client(options, begun=begun)
        found = _metadata(client, options, config.signature)
        if found is None:
            if source is None:
                raise UsageError(
                    "the endpoint does not say what its model takes",
                    where=options.url,
                    expected="http(s)://HOST/v1/models/NAME:predict of a server that answers its metadata",
                    fix="Give the Model that it serves by --model",
                )
            from headrace.components.score.batch.run import model_of

            model = model_of(config).load()
            return cls(options, model.takes, model.model_version, begun=begun)
        takes, version, answers_as = found
        if not answers_as and "/versions/" not in options.url:
            # Nothing in its answers tells versions apart, so that one is asked for by name.
            stem = options.url.removesuffix(_PREDICT)
            options = replace(options, url=f"{stem}/versions/{quote(version, safe='')}{_PREDICT}")
        return cls(options, _bound(takes, config, source, answers_as), version, answers_as, begun)

    def load(self) -> Scores:
        """The scorer of this process: connections, budget and deadline are all its threads'."""
        from headrace.components.score.endpoint.scorer import EndpointScorer

        return load_once(self, lambda: EndpointScorer(self))


def _metadata(client: Client, options: EndpointOptions, signature: str) -> tuple[Takes, str, str] | None:
    """What the model takes, its version, and the version that answers name; None where the endpoint does not say."""
    stem = options.url.removesuffix(_PREDICT)
    if stem == options.url or "/v1/models/" not in stem:
        return None
    url = f"{stem}/metadata"

    def read(response: Response) -> tuple[Any, str]:
        try:
            return json.loads(response.content), response.version
        except ValueError as error:
            raise wire.BrokenReply(f"it is not JSON: {error}") from error

    found = client.get(url, read)
    if found is None:
        return None
    metadata, answers_as = found
    return (*wire.takes_of_metadata(metadata, signature, url), answers_as)


def _bound(takes: Takes, config: ScoreConfig, source: Source | None, answers_as: str) -> Takes:
    """What the endpoint takes, bound to columns as a Model at hand and the configuration say."""
    takes = with_key_input(takes, config.key, ours=source is not None and source.interface is not None)
    if source is not None and source.interface is not None:
        if answers_as and answers_as != source.version:
            raise UsageError(
                "the endpoint serves another version than the Model that was given",
                where=config.endpoint.url if config.endpoint else None,
                expected=f"version {source.version}",
                received=f"version {answers_as}",
                fix="Give the Model that it serves, or none",
            )
        takes = declared(takes, source)
    if config.inputs is not None:
        takes = takes.fed(config.inputs) if isinstance(config.inputs, Mapping) else takes.dense(config.inputs)
    return keyed(with_optional(takes, config.optional), config.key)
