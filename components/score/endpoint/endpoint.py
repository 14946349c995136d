"""Endpoint description: signature and version of a model behind an HTTP endpoint, requested once for all workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote

from headrace.components.score.batch.part_result import Scores, load_once
from headrace.components.score.config import ScoreConfig
from headrace.components.score.endpoint import wire
from headrace.components.score.endpoint.client import EndpointClient, EndpointResponse
from headrace.components.score.endpoint.refused_rows import enforced
from headrace.components.score.endpoint.reply import BrokenReply
from headrace.components.score.options import EndpointOptions
from headrace.core.errors import UsageError
from headrace.core.saved_model.binding import declared, keyed, with_key_input, with_optional
from headrace.core.saved_model.find import ServableModel, find_source
from headrace.core.saved_model.interface import RULES, ModelBinding
from headrace.core.storage.clocks import Moment

_PREDICT = ":predict"


@dataclass(frozen=True)
class EndpointModel:
    """A model behind an endpoint, as described when the work started; workers do not request the description again.

    It holds no token: each process reads its own.

    Attributes:
        options: address, retries, rate and token.
        takes: the model's inputs and outputs, and the columns of its inputs.
        model_version: version of the model.
        answers_as: the version that each response must name; "" if unknown.
        begun: start of the deadline; None for the first request of each process.
        must_warn: whether rules are only to warn, and it is not known whether the server does.
    """

    options: EndpointOptions
    takes: ModelBinding
    model_version: str
    answers_as: str = ""
    begun: Moment | None = None
    must_warn: bool = False

    @classmethod
    def of(cls, config: ScoreConfig, options: EndpointOptions) -> Self:
        """Requests the model's signature from the endpoint, in the form of TensorFlow Serving and of headrace's server.

        For an endpoint without this metadata, the signature is read from the configured Model or SavedModel.

        Args:
            config: of the work: the model if it is available, the signature, the key and the inputs' columns.
            options: address, retries, rate and token.

        Raises:
            UsageError: neither metadata nor a model is available; the model does not exist; the endpoint serves another
                version of the Model, or enforces rules that are only to warn; or the token is missing.
            DataError: an input cannot be fed from columns.
            PlatformError: the endpoint does not respond.
        """
        begun = Moment.now()
        source = find_source(config.model, name="model", rules=config.rules) if config.model else None
        client = EndpointClient(options, begun=begun)
        found = _metadata(client, options, config.signature)
        if found is None:
            if source is None:
                raise UsageError(
                    "the endpoint does not describe its model",
                    where=options.url,
                    expected="http(s)://HOST/v1/models/NAME:predict of a server with model metadata",
                    fix="Pass the Model that it serves as --model",
                )
            from headrace.components.score.batch.run import model_of

            model = model_of(config).load()
            wire.check_shapes(model.takes, options.url)
            return cls(options, model.takes, model.model_version, begun=begun, must_warn=config.rules == "warn")
        takes, version, answers_as, mode = found
        if config.rules == "warn" and mode == "enforce":
            raise enforced(options.url)
        if not answers_as and "/versions/" not in options.url:
            # Its responses do not name the version, so requests name it in the address.
            stem = options.url.removesuffix(_PREDICT)
            options = replace(options, url=f"{stem}/versions/{quote(version, safe='')}{_PREDICT}")
        unknown = config.rules == "warn" and not mode
        return cls(options, _bound(takes, config, source, answers_as), version, answers_as, begun, unknown)

    def load(self) -> Scores:
        """The scorer of this process; its threads share connections, rate limit and deadline."""
        from headrace.components.score.endpoint.scorer import EndpointScorer

        return load_once(self, lambda: EndpointScorer(self))


def _metadata(
    client: EndpointClient, options: EndpointOptions, signature: str
) -> tuple[ModelBinding, str, str, str] | None:
    """The model's signature, its version, the version that responses name, and the mode of its rules ("" if unknown).

    None if the endpoint has no metadata.
    """
    stem = options.url.removesuffix(_PREDICT)
    if stem == options.url or "/v1/models/" not in stem:
        return None
    url = f"{stem}/metadata"

    def read(response: EndpointResponse) -> tuple[Any, str]:
        try:
            return json.loads(response.content), response.version
        except ValueError as error:
            raise BrokenReply(f"it is not JSON: {error}") from error

    found = client.get(url, read)
    if found is None:
        return None
    metadata, answers_as = found
    takes, version = wire.takes_of_metadata(metadata, signature, url)
    return takes, version, answers_as, str(metadata["metadata"].get(RULES, ""))


def _bound(takes: ModelBinding, config: ScoreConfig, source: ServableModel | None, answers_as: str) -> ModelBinding:
    """Binds the endpoint's inputs to columns, by the configured Model and the configuration."""
    takes = with_key_input(takes, config.key, ours=source is not None and source.interface is not None)
    if source is not None and source.interface is not None:
        if answers_as and answers_as != source.version:
            raise UsageError(
                "the endpoint serves another version than the configured Model",
                where=config.endpoint.url if config.endpoint else None,
                expected=f"version {source.version}",
                received=f"version {answers_as}",
                fix="Pass the Model that it serves, or no --model",
            )
        takes = declared(takes, source)
    if config.inputs is not None:
        takes = takes.fed(config.inputs) if isinstance(config.inputs, Mapping) else takes.dense(config.inputs)
    return keyed(with_optional(takes, config.optional), config.key)
