"""Server process: listens on a port, loads a model in the background, and shuts down gracefully."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headrace.components.serve import processes
from headrace.components.serve.engine import Limits
from headrace.core import storage
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.progress import Progress, silent
from headrace.core.rules.mode import MODES, Mode, check_mode
from headrace.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from headrace.components.serve.app import App
    from headrace.core.saved_model.find import Source

_log = logging.getLogger("headrace.serve")


@dataclass(frozen=True)
class ServeConfig:
    """Options of the server.

    Args:
        source: an endpoint folder (its live version), a Model artifact, or a bare SavedModel; local or on gs://.
        name: of the model in URLs; by default the endpoint's or the problem's.
        host: address to listen on.
        port: to listen on; 0 for a free one.
        ready_file: JSON file with the url, written when the server is ready; removed when it exits.
        announce: folder in which the server announces itself from its start.
        inherited_lock: descriptor to close after the announcement.
        health_route: of Vertex AI's contract.
        predict_route: of Vertex AI's contract.
        limits: of requests.
        rules: "enforce" refuses rows that break the Model's rules, "warn" predicts and counts them.
        signature: of the SavedModel.
        constants: a value for each input of shape [], which is one for all rows.

    Raises:
        UsageError: a port, a route or the mode of rules is not valid.
    """

    source: str
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    ready_file: str | None = None
    announce: str | None = None
    inherited_lock: int | None = None
    health_route: str = "/health"
    predict_route: str = "/predict"
    limits: Limits = field(default_factory=Limits)
    rules: Mode = "enforce"
    signature: str = "serving_default"
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_mode(self.rules)
        if not 0 <= self.port <= 65535:
            raise UsageError("the port is not valid", expected="0 to 65535", received=str(self.port))
        for route in (self.health_route, self.predict_route):
            if not route.startswith("/"):
                raise UsageError("the route is not valid", expected="a path that starts with /", received=repr(route))
        if self.health_route == self.predict_route:
            raise UsageError("health and predictions need different routes", received=repr(self.health_route))


def serve(config: ServeConfig, report: Progress = silent) -> None:
    """Serves until SIGTERM or SIGINT, then finishes running requests.

    The health route responds from the start: 503 while the model is loading, 200 after.

    Args:
        config: of the server.
        report: receives progress: loading, and then the URL.

    Raises:
        UsageError: the source holds no model, or the port is in use.
        DataError: the model is damaged: a registered one is verified before TensorFlow is loaded.
        PlatformError: the model's first prediction failed.
    """
    if config.announce is not None:
        processes.announce(config.announce, "", None)
    if config.inherited_lock is not None:
        os.close(config.inherited_lock)
    if config.ready_file is not None:
        # A file of an earlier server would announce this one too early.
        storage.local_path(config.ready_file).unlink(missing_ok=True)
    try:
        # TensorFlow reads this at import; its notes on CPU instructions are of no use here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from headrace.core.saved_model.find import find_source, verify_source

        verify_source(config.source)
        source = find_source(config.source, name=config.name, rules=config.rules)
        with _listen(config.host, config.port) as listener:
            asyncio.run(_serve(config, source, listener, report))
    finally:
        if config.ready_file is not None:
            storage.local_path(config.ready_file).unlink(missing_ok=True)
        if config.announce is not None:
            processes.withdraw(config.announce, os.getpid())


async def _serve(config: ServeConfig, source: Source, listener: socket.socket, report: Progress) -> None:
    import uvicorn

    from headrace.components.serve.app import App, Routes

    app = App(
        source.name,
        source.version,
        limits=config.limits,
        routes=Routes(config.health_route, config.predict_route),
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(config.limits.time_limit_s) + 1,
        )
    )

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it serves; after its end it raises the signal again, for these.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = _load(config, source, app, _url(listener), report)
    await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done() and loading.exception() is not None:
        server.should_exit = True
    await serving
    app.engine.close()
    if loading.done():
        loading.result()
    else:
        _end_while_loading(config)


def _load(config: ServeConfig, source: Source, app: App, url: str, report: Progress) -> asyncio.Future[None]:
    """Loads the model in a thread of its own, so that the health route responds meanwhile, and then announces it."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if error is None:
            loaded.set_result(None)
        else:
            loaded.set_exception(error)

    def load() -> None:
        error: Exception | None = None
        try:
            report(f"loading {source.name} {source.version}")
            if source.prepared:
                report("requests must hold the columns that prepare of the Problem file makes: it does not run here")
            import_tensorflow()
            from headrace.components.serve.model import Model

            # A loaded model is in memory, with its vocabularies: a local copy of its files is removed.
            with storage.at_hand(source.saved_model) as folder:
                here = replace(source, saved_model=str(folder))
                app.use(Model(here, signature=config.signature, constants=config.constants))
            if config.announce is not None:
                processes.announce(config.announce, source.version, url)
            if config.ready_file is not None:
                ready = {"pid": os.getpid(), "url": url, "name": source.name, "model_version": source.version}
                storage.write_json(config.ready_file, ready)
            report(f"{source.name} {source.version} answers at {url}")
        except Exception as failure:
            error = failure
        loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=load, name="load", daemon=True).start()
    return loaded


def _end_while_loading(config: ServeConfig) -> None:
    """Exits at once: an import of TensorFlow that has begun cannot be stopped, and nothing else runs."""
    if config.announce is not None:
        processes.withdraw(config.announce, os.getpid())
    logging.shutdown()
    os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        # A port that a server has just closed can be used again.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            "the server cannot listen on the address",
            where=f"{host}:{port}",
            expected="a free port that you are allowed to use",
            received=str(error),
            fix="Use port 0 for a free port",
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    # A wildcard address is reachable on the loopback address.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def config_from_environment(environment: Mapping[str, str]) -> ServeConfig:
    """Options from Vertex AI's variables, AIP_STORAGE_URI, AIP_HTTP_PORT, AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE, and
    from HEADRACE_RULES, the mode of rules.

    Raises:
        UsageError: a port or a route is not valid.
    """
    port = environment.get("AIP_HTTP_PORT")
    if port is not None and not port.isdecimal():
        raise UsageError("AIP_HTTP_PORT is not valid", expected="a port", received=repr(port))
    config = ServeConfig(
        environment.get("AIP_STORAGE_URI", ""),
        health_route=environment.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environment.get("AIP_PREDICT_ROUTE", "/predict"),
        rules=environment.get("HEADRACE_RULES", "enforce"),  # type: ignore[arg-type]
    )
    # A container must be reachable from outside.
    return config if port is None else replace(config, port=int(port), host="0.0.0.0")  # noqa: S104


def _log_progress(message: str, **_: int | None) -> None:
    _log.info("%s", message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves from a command line; other options come from Vertex AI's environment variables, or have a default.

    Returns:
        The exit status: 0 after a graceful shutdown, 2 for an error of the user, 75 for one of the platform.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {processes.MODULE}", description=__doc__)
    parser.add_argument("source", nargs="?", help="Endpoint folder, Model, or SavedModel (default: AIP_STORAGE_URI).")
    parser.add_argument("--name", help="Name of the model in URLs.")
    parser.add_argument("--host", help="Address to listen on (default: 127.0.0.1; 0.0.0.0 with AIP_HTTP_PORT).")
    parser.add_argument(
        "--port", type=int, help="Port to listen on, 0 for a free one (default: AIP_HTTP_PORT, or 8080)."
    )
    parser.add_argument(
        "--rules",
        choices=MODES,
        help="enforce refuses rows that break the Model's rules, warn predicts and counts them "
        "(default: HEADRACE_RULES, or enforce).",
    )
    parser.add_argument("--ready-file", help="JSON file with the url, written when the server is ready.")
    parser.add_argument("--signature", help="Signature of the SavedModel (default: serving_default).")
    parser.add_argument(
        "--constant",
        dest="constants",
        action="append",
        metavar="INPUT=VALUE",
        help="Value of an input of shape [], which is one for all rows (repeatable).",
    )
    parser.add_argument("--announce", help=argparse.SUPPRESS)
    parser.add_argument("--inherited-lock", type=int, help=argparse.SUPPRESS)
    options = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if "constants" in options:
            from headrace.core.saved_model.constants import constants_from

            options["constants"] = constants_from(options["constants"])
        config = replace(config_from_environment(os.environ), **options)
        if not config.source:
            raise UsageError("the model to serve is missing", expected="a path, or AIP_STORAGE_URI")
        serve(config, _log_progress)
    except HeadraceError as error:
        _log.error("%s", error.paragraph)
        return error.exit_status
    except Exception:
        _log.exception("unexpected internal error")
        return PlatformError.exit_status
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    # Everything is finished and withdrawn; TensorFlow would need a second to clean up what the system frees at once,
    # and a prediction that hangs in a thread would keep the process for ever.
    os._exit(status)
