"""Trial worker: a process that runs one trial after another, `python -m headrace.components.tune.worker FD`.

It reads one JSON object per line from stdin, and writes one per line to the file descriptor FD; stdout and stderr are
for the libraries. Starting TensorFlow takes as long as a small trial, so one process serves many.

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

from headrace.components.train.request import TrainingRequest
from headrace.components.tune import trial
from headrace.components.tune.trial import TrialConfig, TrialPruned
from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.problem.file import load_problem
from headrace.core.tensorflow_import import import_tensorflow


class Channel:
    """JSON lines from and to the search; if the search ends, this process exits."""

    def __init__(self, descriptor: int) -> None:
        self._out = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="search", daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        # No process waits for the trial any more; its state is in its last checkpoint.
        os._exit(PlatformError.exit_status)

    def receive(self) -> Any:
        """Receives the next object from the search."""
        return json.loads(self._lines.get())

    def send(self, event: str, **details: Any) -> None:
        """Sends an event to the search."""
        self._out.write(json.dumps({"event": event, **details}) + "\n")

    def report(self, message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False) -> None:
        """Sends progress; arguments as of `progress.Progress`."""
        if done is None or lasting:
            self.send("progress", message=message)

    def judge(self, epoch: int, eval_loss: float) -> bool:
        """Returns whether, by the search's judgement, the trial continues after an epoch."""
        self.send("epoch", epoch=epoch, eval_loss=eval_loss)
        return bool(self.receive()["go_on"])


def serve(channel: Channel) -> None:
    """Runs trials until the search closes the channel."""
    import_tensorflow()
    while True:
        request = channel.receive()
        try:
            channel.send("done", record=_run(request, channel))
        except TrialPruned:
            channel.send("pruned")
        except HeadraceError as error:
            traceback.print_exc()
            channel.send("failed", error=error.to_json())
        _forget()


def _run(request: Mapping[str, Any], channel: Channel) -> Mapping[str, Any]:
    config = TrialConfig(
        parameters=request["parameters"],
        examples=request["examples"],
        output=request["output"],
        checkpoints=request["checkpoints"],
        request=TrainingRequest.from_json(request["training"]),
    )
    file = load_problem(request["problem"], digest=request["digest"], part="training")
    return trial.run(file, config, channel.report, channel.judge).record


def _forget() -> None:
    """Frees the last trial's model, and resets the numbers in Keras' names of layers."""
    import keras

    keras.utils.clear_session()
    gc.collect()


if __name__ == "__main__":
    serve(Channel(int(sys.argv[1])))
