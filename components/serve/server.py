"""The server's process: a port, a model loaded behind it, and an orderly end."""

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
from headrace.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from headrace.components.serve.app import App
    from headrace.core.saved_model.find import Source

_log = logging.getLogger("headrace.serve")


@dataclass(frozen=True)
class ServeConfig:
    """What is served, and where.

    Args:
        source: an Endpoint folder (its live version), a Model artifact, or a bare SavedModel; here or on gs://.
        name: the model's name in URLs; by default the endpoint's or the problem's.
        host: the address to listen at.
        port: 0 takes a free one.
        ready_file: written, as JSON with the url, when the server answers; removed when it ends.
        announce: a folder in which the server says from its start on that it runs.
        inherited_lock: a descriptor to close once that is said.
        health_route: of Vertex's contract.
        predict_route: of Vertex's contract.
        limits: what it takes on.

    Raises:
        UsageError: a port or a route that is none.
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

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError("the port is wrong", expected="0 to 65535", received=str(self.port))
        for route in (self.health_route, self.predict_route):
            if not route.startswith("/"):
                raise UsageError("the route is wrong", expected="a path that starts with /", received=repr(route))
        if self.health_route == self.predict_route:
            raise UsageError("health and predictions need different routes", received=repr(self.health_route))


def serve(config: ServeConfig, report: Progress = silent) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the requests it has.

    Health is answered from the start: 503 while the model is loaded, 200 after.

    Args:
        config: what is served, and where.
        report: told that the model is being loaded, and then where it answers.

    Raises:
        UsageError: nothing to serve is there, or the port is taken.
        DataError: the model is damaged.
        PlatformError: the model's first prediction failed.
    """
    if config.announce is not None:
        processes.announce(config.announce, "", None)
    if config.inherited_lock is not None:
        os.close(config.inherited_lock)
    if config.ready_file is not None:
        # One that an earlier server left would say that this one is ready.
        storage.local_path(config.ready_file).unlink(missing_ok=True)
    try:
        # TensorFlow reads this when it is imported; its notes on CPU instructions help nobody here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from headrace.core.saved_model.find import find_source

        source = find_source(config.source, name=config.name)
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

    # uvicorn has handlers of its own while it serves; once it has ended it raises the signal again, for these.
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
    """Loads the model in a thread of its own, so that health is answered meanwhile, and then says that it is there."""
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
            import_tensorflow()
            from headrace.components.serve.model import Model

            # Once it is loaded, the model is in memory, with its vocabularies: a copy of its files is not kept.
            with storage.at_hand(source.saved_model) as folder:
                app.use(Model(replace(source, saved_model=str(folder))))
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
    """Ends the process at once: an import of TensorFlow that has begun cannot be stopped, and nothing else runs."""
    if config.announce is not None:
        processes.withdraw(config.announce, os.getpid())
    logging.shutdown()
    os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        # A port that a server left a moment ago can be taken again.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            "the server cannot listen there",
            where=f"{host}:{port}",
            expected="a free port that you may use",
            received=str(error),
            fix="Port 0 takes a free one",
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    # What listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def config_from_environment(environment: Mapping[str, str]) -> ServeConfig:
    """What Vertex AI tells a custom container: AIP_STORAGE_URI, AIP_HTTP_PORT, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE.

    Raises:
        UsageError: a port or a route that is none.
    """
    port = environment.get("AIP_HTTP_PORT")
    if port is not None and not port.isdecimal():
        raise UsageError("AIP_HTTP_PORT is wrong", expected="a port", received=repr(port))
    config = ServeConfig(
        environment.get("AIP_STORAGE_URI", ""),
        health_route=environment.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environment.get("AIP_PREDICT_ROUTE", "/predict"),
    )
    # A container is called from outside of it.
    return config if port is None else replace(config, port=int(port), host="0.0.0.0")  # noqa: S104


def _log_progress(message: str, **_: int | None) -> None:
    _log.info("%s", message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves from a command line; what is not said there is taken from Vertex's environment, or has a default.

    Returns:
        The exit status: 0 after an orderly end, 2 for the user's mistake, 75 for the platform's.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {processes.MODULE}", description=__doc__)
    parser.add_argument("source", nargs="?", help="an endpoint's folder, a Model, or a SavedModel (AIP_STORAGE_URI)")
    parser.add_argument("--name", help="the model's name in URLs")
    parser.add_argument("--host", help="the address to listen at (127.0.0.1; 0.0.0.0 with AIP_HTTP_PORT)")
    parser.add_argument("--port", type=int, help="0 takes a free one (AIP_HTTP_PORT, or 8080)")
    parser.add_argument("--ready-file", help="written, with the url, when the server answers")
    parser.add_argument("--announce", help=argparse.SUPPRESS)
    parser.add_argument("--inherited-lock", type=int, help=argparse.SUPPRESS)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = replace(config_from_environment(os.environ), **given)
        if not config.source:
            raise UsageError("it is not said what to serve", expected="a path, or AIP_STORAGE_URI")
        serve(config, _log_progress)
    except HeadraceError as error:
        _log.error("%s", error.paragraph)
        return error.exit_status
    except Exception:
        _log.exception("the server failed unexpectedly")
        return PlatformError.exit_status
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    # Everything is finished and withdrawn; TensorFlow would take a second to clean up what the system does at once,
    # and a prediction that hangs in a thread would keep the process for ever.
    os._exit(status)
