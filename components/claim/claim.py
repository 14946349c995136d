"""Claim of a run: takes the run in the ledger, and fixes its inputs, which are the same for every attempt at an epoch.

The first attempt records the champion to compare with. A later attempt may find the new version already promoted: with
the recorded champion it computes the same result, and repeats no effect.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from headrace.components.registry.open import open_registry
from headrace.components.registry.state import CHAMPION, RegistryState
from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.inbox import FROM_SCRATCH, Arrival
from headrace.core.ledger.ledger import Ledger
from headrace.core.storage.compare_and_set import update_json

_FOLDER = "epochs"
_FORMAT = 1


@dataclass(frozen=True)
class Base:
    """State of the registry at the beginning of the first attempt at an epoch.

    Attributes:
        champion: version of the champion; "" if there is none.
        changes: epoch of the registry, the number of its changes.
        from_scratch: whether a request asks for a training from scratch.
    """

    champion: str
    changes: int
    from_scratch: bool = False


@dataclass(frozen=True)
class ClaimedRun:
    """A claimed run.

    Attributes:
        claim: the claim, which each task with effects checks.
        arrivals: the data versions of the run that are spans.
        base: state of the registry to compare with.
        model: URI of the champion's Model; "" if there is none.
    """

    claim: Claim
    arrivals: tuple[Arrival, ...]
    base: Base
    model: str


def claim_run(ledger: str, run_id: str, holder: str, registry: str) -> ClaimedRun:
    """Claims the current run of a ledger. The same execution may claim it repeatedly.

    Args:
        ledger: URI of the ledger.
        run_id: id of the run.
        holder: id of the platform's execution.
        registry: URI of the model registry, which need not exist yet.

    Raises:
        Overtaken: the ledger names another run, or another execution holds it.
        DataError: the ledger, an arrival or the registry is damaged.
        PlatformError: the disk or the service failed; claiming again is safe.
    """
    book = Ledger(ledger)
    run = book.claim(run_id, holder)
    claim = Claim(ledger, run_id, holder, run.epoch)
    arrived = book.inbox.read(run.versions)
    opened = open_registry(registry, new=True)
    state = opened.state()
    wanted = any(arrival.reason == FROM_SCRATCH for arrival in arrived)
    base = _pinned(claim, state, wanted)
    model = opened.path(base.champion) if base.champion else ""
    return ClaimedRun(claim, tuple(arrival for arrival in arrived if arrival.span), base, model)


def _pinned(claim: Claim, state: RegistryState, from_scratch: bool) -> Base:
    uri = storage.join(claim.ledger, _FOLDER, f"{claim.epoch}.json")
    champion = state.aliases.get(CHAMPION, "")

    def change(content: Any) -> Any:
        claim.check()
        pinned = None if content is None else _parsed(content, uri)
        if pinned is not None and not _changed_by_others(pinned, state, champion):
            return content
        return {"kind": "Epoch", "format": _FORMAT, **asdict(Base(champion, state.epoch, from_scratch))}

    return _parsed(update_json(uri, change), uri)


def _changed_by_others(pinned: Base, state: RegistryState, champion: str) -> bool:
    """Whether the champion was changed by another actor (a person) than an earlier attempt at this epoch."""
    if pinned.champion and (
        pinned.champion not in state.versions or state.versions[pinned.champion].status != "registered"
    ):
        return True
    if champion == pinned.champion:
        return False
    # The version of an earlier attempt was registered after the first one began.
    return not champion or state.versions[champion].epoch <= pinned.changes


def _parsed(content: Any, uri: str) -> Base:
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        return Base(str(content["champion"]), int(content["changes"]), bool(content["from_scratch"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "the epoch's record is damaged", where=uri, received=f"{type(error).__name__}: {error}", fix="Remove it"
        ) from error
