"""Serves a SavedModel as the guide of a peer says, with the peer's own batching where it has one.

Usage: serve_peers.py kserve|litserve|ray MODEL_FOLDER PORT
       MODEL_FOLDER=... bentoml serve serve_peers:Flights --port PORT
"""

import os
import sys


def load(folder):
    """A function from rows to predictions, one object per row: all of the SavedModel that peers share."""
    import tensorflow as tf

    signature = tf.saved_model.load(f"{folder}/saved_model").signatures["serving_default"]
    specs = signature.structured_input_signature[1]

    def column(rows, name, spec):
        missing = "" if spec.dtype == tf.string else float("nan")
        values = [row.get(name) for row in rows]
        return tf.constant([missing if value is None else value for value in values], spec.dtype)

    def predict(rows):
        outputs = signature(**{name: column(rows, name, spec) for name, spec in specs.items()})
        lists = {name: values.numpy().tolist() for name, values in outputs.items() if name != "key"}
        return [dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)]

    return predict


def joined(predict, requests):
    """The predictions of several requests by one call."""
    rows = [row for request in requests for row in request]
    answers = iter(predict(rows))
    return [[next(answers) for _ in request] for request in requests]


def kserve(folder, port):
    from kserve import Model, ModelServer

    class Flights(Model):
        def __init__(self):
            super().__init__("flights")
            self.run = load(folder)
            self.ready = True

        def predict(self, payload, headers=None, response_headers=None):
            return {"predictions": self.run(payload["instances"])}

    ModelServer(http_port=port, workers=1, enable_grpc=False).start([Flights()])


def litserve(_, port):
    from litserve import LitServer

    api = LitFlights(max_batch_size=64, batch_timeout=0.002)
    LitServer(api, accelerator="cpu", workers_per_device=1).run(
        port=port, generate_client_file=False, log_level="warning"
    )


def ray(folder, port):
    import time

    from ray import serve

    @serve.deployment(max_ongoing_requests=256)
    class Flights:
        def __init__(self):
            self.run = load(folder)

        @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
        async def together(self, requests):
            return joined(self.run, requests)

        async def __call__(self, request):
            return {"predictions": await self.together((await request.json())["instances"])}

    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Flights.bind(), route_prefix="/")
    while True:
        time.sleep(60)


# These two import the service by its name, in processes of their own.
if os.environ.get("PEER") == "litserve":
    import litserve as lit

    class LitFlights(lit.LitAPI):
        def setup(self, device):
            self.run = load(os.environ["MODEL_FOLDER"])

        def decode_request(self, request):
            return request["instances"]

        def batch(self, inputs):
            return inputs

        def predict(self, requests):
            return joined(self.run, requests)

        def unbatch(self, output):
            return output

        def encode_response(self, output):
            return {"predictions": output}


if os.environ.get("PEER") == "bentoml":
    import bentoml

    @bentoml.service(
        workers=1, logging={"access": {"enabled": False}}, traffic={"timeout": 60, "max_concurrency": 1024}
    )
    class Flights:
        def __init__(self):
            self.run = load(os.environ["MODEL_FOLDER"])

        @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
        def predict(self, instances: list[dict]) -> list[dict]:
            return self.run(instances)


if __name__ == "__main__":
    {"kserve": kserve, "litserve": litserve, "ray": ray}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
