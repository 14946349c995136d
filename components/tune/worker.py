"""A process that runs one trial after another: `python -m headrace.components.tune.worker FD`.

It reads a JSON object a line from stdin, and writes one a line to the file descriptor FD; stdout and stderr are the
libraries'. Starting TensorFlow takes as long as a small trial, so a process serves many.

    <- {"problem", "digest", "parameters", "examples", "output", "checkpoints", "training"}
    -> {"event": "progress", "message"}
    -> {"event": "epoch", "epoch", "eval_loss"}        <- {"go_on": true}
    -> {"event": "done", "record"} or {"event": "pruned"} or {"event": "failed", "error"}
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from headrace.components.train.request import Request
from headrace.components.tune import trial
from headrace.components.tune.trial import Pruned, TrialConfig
from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.problem.file import load_problem
from headrace.core.tensorflow_import import import_tensorflow


class Channel:
    """Lines of JSON from and to the search; when the search is gone, so is this process."""

    def __init__(self, descriptor: int) -> None:
        self._out = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="search", daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        # Nobody waits for the trial any more. What it learned is in its last checkpoint.
        os._exit(PlatformError.exit_status)

    def receive(self) -> Any:
        """The next object that the search sends."""
        return json.loads(self._lines.get())

    def send(self, event: str, **details: Any) -> None:
        """Tells the search."""
        self._out.write(json.dumps({"event": event, **details}) + "\n")

    def report(self, message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False) -> None:
        """Progress; see `progress.Progress`."""
        if done is None or lasting:
            self.send("progress", message=message)

    def judge(self, epoch: int, eval_loss: float) -> bool:
        """Whether the trial goes on after an epoch."""
        self.send("epoch", epoch=epoch, eval_loss=eval_loss)
        return bool(self.receive()["go_on"])


def serve(channel: Channel) -> None:
    """Runs trials until the search closes the channel."""
    import_tensorflow()
    while True:
        asked = channel.receive()
        try:
            channel.send("done", record=_run(asked, channel))
        except Pruned:
            channel.send("pruned")
        except HeadraceError as error:
            traceback.print_exc()
            channel.send("failed", error=error.to_json())
        _forget()


def _run(asked: Mapping[str, Any], channel: Channel) -> Mapping[str, Any]:
    config = TrialConfig(
        parameters=asked["parameters"],
        examples=asked["examples"],
        output=asked["output"],
        checkpoints=asked["checkpoints"],
        request=Request.from_json(asked["training"]),
    )
    file = load_problem(asked["problem"], digest=asked["digest"], part="training")
    return trial.run(file, config, channel.report, channel.judge).record


def _forget() -> None:
    """Frees what the last trial built. Keras numbers layers without a name, and begins anew."""
    import keras

    keras.utils.clear_session()
    gc.collect()


if __name__ == "__main__":
    serve(Channel(int(sys.argv[1])))
