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
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from headrace.components.request_log.config import request_log_of
from headrace.components.serve import processes
from headrace.components.serve.config import ServeConfig, config_from_environment
from headrace.components.serve.http.listen import listen, url_of
from headrace.components.serve.limits import Limits, limits_from
from headrace.core import storage
from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.progress import Progress, silent
from headrace.core.rules.mode import MODES
from headrace.core.serving_mode import ENGINES

if TYPE_CHECKING:
    from headrace.components.request_log.writer import RequestLogWriter
    from headrace.components.serve.app import ServerApp
    from headrace.components.serve.follow import Follower
    from headrace.components.serve.start import ServingTarget

_log = logging.getLogger("headrace.serve")


def serve(config: ServeConfig, report: Progress = silent) -> None:
    """Serves until SIGTERM or SIGINT, then finishes running requests.

    The health route responds from the start: 503 while the model is loading, 200 after.

    Args:
        config: of the server.
        report: receives progress: loading, and then the URL.

    Raises:
        UsageError: the source holds no model, the table does not exist, or the port is in use.
        DataError: the model or the table is damaged: a registered model is verified before TensorFlow is loaded.
        PlatformError: the model's first prediction failed.
    """
    config.check_source()
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
        import uvloop

        from headrace.components.serve import start

        found = start.find(config)
        with listen(config.host, config.port) as listener:
            uvloop.run(_serve(found.config, found, listener, report))
    finally:
        if config.ready_file is not None:
            storage.local_path(config.ready_file).unlink(missing_ok=True)
        if config.announce is not None:
            processes.withdraw(config.announce, os.getpid())


async def _serve(config: ServeConfig, found: ServingTarget, listener: socket.socket, report: Progress) -> None:
    from headrace.components.request_log.traffic import TrafficLog
    from headrace.components.serve.access_log import AccessLog
    from headrace.components.serve.app import ServerApp
    from headrace.components.serve.http.server import HttpServer
    from headrace.components.serve.routes import Routes

    access_log = AccessLog() if config.access_log else None
    traffic_log = None if config.traffic_log is None else TrafficLog(config.traffic_log, config.deployment)
    app = ServerApp(
        found.name,
        found.version,
        limits=config.limits,
        routes=Routes(config.health_route, config.predict_route),
        access_log=access_log,
        traffic=None if traffic_log is None else traffic_log.answered,
    )
    request_log = _request_log(config, app)
    server = HttpServer(app)

    def end(*_: object) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it serves; after its end it raises the signal again, for these.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if traffic_log is not None:
        traffic_log.start()
    if config.supervise is not None:
        from headrace.core.steps.supervisor import supervise

        supervise(*config.supervise, ended=lambda: server.should_exit)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = _load(config, found, app, request_log, url_of(listener), report)
    await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done() and loading.exception() is not None:
        server.should_exit = True
    await serving
    app.batcher.close()
    if access_log is not None:
        access_log.close()
    if request_log is not None:
        request_log.close()
    if traffic_log is not None:
        traffic_log.close()
    if loading.done():
        for follower in loading.result():
            follower.close()
    else:
        _end_while_loading(config)


def _request_log(config: ServeConfig, app: ServerApp) -> RequestLogWriter | None:
    if config.request_log is None:
        return None
    from headrace.components.request_log.writer import RequestLogWriter

    about = "Sampled rows that the request log wrote, or dropped because its queue or the disk was full."
    return RequestLogWriter(
        config.request_log,
        tell=lambda result, rows: app.metrics.count("request_log_rows", about, {"result": result}, rows),
    )


def _load(
    config: ServeConfig,
    found: ServingTarget,
    app: ServerApp,
    request_log: RequestLogWriter | None,
    url: str,
    report: Progress,
) -> asyncio.Future[Sequence[Follower[Any]]]:
    """Loads what is served in a thread, so that the health route responds meanwhile, and then announces it."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[Sequence[Follower[Any]]] = loop.create_future()

    def finish(followers: Sequence[Follower[Any]], error: Exception | None) -> None:
        if error is None:
            loaded.set_result(followers)
        else:
            loaded.set_exception(error)

    def load() -> None:
        error: Exception | None = None
        followers: Sequence[Follower[Any]] = ()
        try:
            from headrace.components.serve import start

            followers = start.load(found, app, report, request_log)
            if config.announce is not None:
                processes.announce(config.announce, found.version, url)
            if config.ready_file is not None:
                ready = {"pid": os.getpid(), "url": url, "name": found.name, "model_version": found.version}
                storage.write_json(config.ready_file, ready)
            report(f"{found.name} {found.version} answers at {url}")
        except Exception as failure:
            error = failure
        loop.call_soon_threadsafe(finish, followers, error)

    threading.Thread(target=load, name="load", daemon=True).start()
    return loaded


def _end_while_loading(config: ServeConfig) -> None:
    """Exits at once: an import of TensorFlow that has begun cannot be stopped, and nothing else runs."""
    if config.announce is not None:
        processes.withdraw(config.announce, os.getpid())
    logging.shutdown()
    os._exit(0)


def _log_progress(message: str, **_: int | None) -> None:
    _log.info("%s", message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves from a command line; other options come from Vertex AI's environment variables, or have a default.

    Returns:
        The exit status: 0 after a graceful shutdown, 2 for an error of the user, 75 for one of the platform.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {processes.MODULE}", description=__doc__)
    parser.add_argument("source", nargs="?", help="Endpoint folder, Model, or SavedModel (default: AIP_STORAGE_URI).")
    parser.add_argument(
        "--mode",
        choices=("dynamic", "static", "hybrid"),
        help="Answer with the model, from a table of predictions by key, or from the table first and else with the "
        "model (default: HEADRACE_MODE, or what the Model's Problem declares, or dynamic).",
    )
    parser.add_argument(
        "--prediction-table",
        dest="table",
        help="Folder of published tables, for static and hybrid (default: HEADRACE_TABLE).",
    )
    parser.add_argument(
        "--answer-cache",
        dest="cache_rows",
        type=int,
        metavar="ROWS",
        help="Maximum number of fresh answers that hybrid mode caches (default: HEADRACE_CACHE, or 0).",
    )
    parser.add_argument("--alias", help="Alias of a registry's version to serve (default: champion).")
    parser.add_argument(
        "--follow-every",
        dest="follow_s",
        type=float,
        metavar="SECONDS",
        help="Look for a new version this often, in seconds, and switch to it (default: never).",
    )
    parser.add_argument(
        "--access-log", action="store_true", default=None, help="Write a JSON line per request to the standard output."
    )
    parser.add_argument(
        "--request-log",
        metavar="URI",
        help="Folder, or prefix on gs:// or s3://, to log a sample of the predicted rows to.",
    )
    parser.add_argument(
        "--request-log-share", type=float, metavar="FRACTION", help="Fraction of the rows to log (default: 0.1)."
    )
    parser.add_argument(
        "--limit",
        dest="limits",
        action="append",
        metavar="NAME=NUMBER",
        help=f"Limit of the server: {', '.join(Limits.__dataclass_fields__)} (repeatable; default: HEADRACE_LIMITS).",
    )
    parser.add_argument("--traffic-log", metavar="URI", help="Folder or gs:// prefix for the counts of a canary.")
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
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="litert computes a Model behind its text features, if its predictions are proven equal (default: "
        "HEADRACE_ENGINE, or tensorflow).",
    )
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
    parser.add_argument("--supervise", nargs=2, help=argparse.SUPPRESS)
    options = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if "constants" in options:
            from headrace.core.saved_model.constants import constants_from

            options["constants"] = constants_from(options["constants"])
        if "limits" in options:
            options["limits"] = limits_from(options["limits"], "--limit")
        if options.get("mode") == "static":
            options.setdefault("source", "")
        log = request_log_of(options.pop("request_log", None), options.pop("request_log_share", None))
        options |= {} if log is None else {"request_log": log}
        config = replace(config_from_environment(os.environ), **options)
        serve(config, _log_progress)
    except HeadraceError as error:
        _log.error("%s", error.paragraph)
        return error.exit_status
    except Exception:
        _log.exception("unexpected internal error")
        return PlatformError.exit_status
    return 0


def run() -> NoReturn:
    """Runs `main` and ends the process."""
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    # Everything is finished and withdrawn; TensorFlow would need a second to clean up what the system frees at once,
    # and a prediction that hangs in a thread would keep the process for ever.
    os._exit(status)


if __name__ == "__main__":
    run()
