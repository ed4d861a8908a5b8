"""Compares what TensorBoard reads from the event files of a run with the run's own files: event_files.py LOGS RUN LEVELS

Its reader of event files and its server have to return every number of every child and epoch, and nothing else.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOGS, RUN, LEVELS = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def of_children(children):
    """Every number by tag, as [step, value]."""
    found, best, failed = {}, None, 0
    for child in children:
        failed += child["status"] != "ok"
        values = {"search/failed": failed}
        if child["status"] == "ok":
            if child["arch"].count("/") + 1 == LEVELS:
                best = child["estimate"] if best is None else max(best, child["estimate"])
            values |= {f"search/{key}": child[key] for key in
                       ("estimate", "predicted", "probability", "temperature", "params", "macs", "seconds")}
            values["search/best"] = best
            values["search/levels"] = child["arch"].count("/") + 1
            values["search/loss"] = child["epochs"][-1]["loss"]
        for tag, value in values.items():
            if value is not None:
                found.setdefault(tag, []).append([child["index"], value])
    return found


def of_epochs(epochs):
    names = {"train/loss": "loss", "train/accuracy": "training_accuracy", "train/learning_rate": "learning_rate",
             "validation/loss": "validation_loss", "validation/accuracy": "validation_accuracy"}
    return {tag: [[epoch["epoch"], epoch[key]] for epoch in epochs] for tag, key in names.items()}


name = RUN.name
expected = {f"{name}/search": of_children(lines(RUN / "history.jsonl"))}
if (RUN / "random").exists():
    expected[f"{name}/random"] = of_children(lines(RUN / "random/history.jsonl"))
for part, label in [("train", "found"), ("train-random", "random-search"), ("train-seed-2", "found-seed-2"),
                    ("train-random-seed-2", "random-search-seed-2")]:
    if (RUN / part / "curve.jsonl").exists():
        expected[f"{name}/train-{label}"] = of_epochs(lines(RUN / part / "curve.jsonl"))


def compare(reader, found):
    count = 0
    assert set(found) == set(expected), f"{reader}: runs {sorted(found)}, expected {sorted(expected)}"
    for run, tags in expected.items():
        assert set(found[run]) == set(tags), f"{reader}, {run}: {sorted(found[run])}, expected {sorted(tags)}"
        for tag, values in tags.items():
            got = found[run][tag]
            assert [step for step, _ in got] == [step for step, _ in values], f"{reader}, {run}, {tag}: steps {got}"
            for (_, ours), (_, theirs) in zip(values, got):
                assert abs(ours - theirs) <= 1e-6 * max(1, abs(ours)), f"{reader}, {run}, {tag}: {theirs}, expected {ours}"
            count += len(values)
    return count


def from_files():
    found, histograms, images = {}, 0, 0
    for run in expected:
        accumulator = EventAccumulator(str(LOGS / run), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
        accumulator.Reload()
        tags = accumulator.Tags()
        found[run] = {tag: [[e.step, e.value] for e in accumulator.Scalars(tag)] for tag in tags["scalars"]}
        histograms += sum(len(accumulator.Histograms(tag)) for tag in tags["histograms"])
        images += sum(len(accumulator.Images(tag)) for tag in tags["images"])
    assert histograms and images, f"{histograms} histograms, {images} images"
    return compare("event files", found), histograms, images


def from_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(LOGS), "--host", "127.0.0.1", "--port", str(port),
               "--samples_per_plugin", "scalars=100000"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def get(path, **query):
        url = f"http://127.0.0.1:{port}/data/plugin/scalars/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def everything():
        return {run: {tag: [[step, value] for _, step, value in get("scalars", run=run, tag=tag)] for tag in tags}
                for run, tags in get("tags").items()}

    try:
        end = time.monotonic() + 60
        while True:
            try:
                return compare("server", everything())
            except (OSError, AssertionError) as error:
                assert time.monotonic() < end, error
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait()


count, histograms, images = from_files()
served = from_server()
print(f"tensorboard: {count} scalars from files, {served} from its server, {histograms} histograms, {images} images")
