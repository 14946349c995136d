"""Batch scoring with texts looked up once per distinct text, and with the same Model whole.

Usage: distinct_texts_ways.py whole MODEL COPY                   copies a Model without what looks texts up once
       distinct_texts_ways.py score MODEL INPUT.parquet OUTPUT   scores once
       distinct_texts_ways.py alternate MODEL COPY INPUT.parquet OUTPUT ROUNDS
Prints CPU seconds as JSON.
"""

import json
import os
import shutil
import sys
import time


def whole(model, copy):
    import tensorflow as tf

    shutil.copytree(model, copy)
    shutil.rmtree(f"{copy}/saved_model")
    loaded = tf.saved_model.load(f"{model}/saved_model")
    signatures = {"serving_default": loaded.signatures["serving_default"]}
    tf.saved_model.save(loaded, f"{copy}/saved_model", signatures=signatures)


def score(model, source, output):
    load, run = prepared(model, source, output)
    begin = time.process_time()
    load()
    loaded = time.process_time()
    run()
    print(json.dumps({"load": loaded - begin, "cpu": time.process_time() - loaded}))


def alternate(model, copy, source, output, rounds):
    """Both ways in one process, after a round that does not count: neighbours on the machine slow both down alike."""
    runs = {}
    for way, folder in (("once", model), ("whole", copy)):
        load, runs[way] = prepared(folder, source, output)
        load()
    seconds = {way: [] for way in runs}
    for number in range(int(rounds) + 1):
        for way, run in runs.items():
            shutil.rmtree(output, ignore_errors=True)
            begin = time.process_time()
            run()
            if number:
                seconds[way].append(time.process_time() - begin)
    print(json.dumps(seconds))


def prepared(model, source, output):
    from headrace.components.score.batch import run as direct
    from headrace.components.score.config import ScoreConfig

    config = ScoreConfig(model, source, output, "0" * 16, data_version="0" * 64)
    return direct.model_of(config).load, lambda: direct.score(config)


def main():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    way, *arguments = sys.argv[1:]
    {work.__name__: work for work in (whole, score, alternate)}[way](*arguments)


main()
