"""Compares what TensorBoard reads from event files with what was written: tensorboard_check.py FOLDER EXPECTED.json

Each folder in FOLDER is a run. Its reader of event files and the pages of its two servers, one in Python and one in Rust,
have to find every number, bucket and picture that EXPECTED.json names, and nothing else.
"""

import base64
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

FOLDER, EXPECTED = sys.argv[1], json.load(open(sys.argv[2]))
KINDS = ("scalars", "histograms", "images")
counts = dict.fromkeys(KINDS, 0)


def is_close(ours, theirs):
    """In single precision."""
    return abs(ours - theirs) <= 1e-6 * max(abs(ours), abs(theirs))


def shown(buckets):
    """Without empty buckets: TensorBoard drops those at the ends."""
    return [bucket for bucket in buckets if bucket[2]]


def compare(reader, run, kind, found):
    """`found`: by tag, what EXPECTED.json has, of one run and kind."""
    expected = EXPECTED[run][kind]
    where = f"{reader}, {run}, {kind}"
    assert set(found) == set(expected), f"{where}: {sorted(found)}, expected {sorted(expected)}"
    for tag, values in expected.items():
        steps = [value[0] for value in values]
        assert [value[0] for value in found[tag]] == steps, f"{where}, {tag}: {found[tag]}, expected steps {steps}"
        for ours, theirs in zip(values, found[tag]):
            if kind == "scalars":
                same = is_close(ours[1], theirs[1])
            elif kind == "images":
                same = ours == theirs
            else:
                pairs = list(zip(shown(ours[1]), shown(theirs[1]), strict=True))
                same = all(is_close(a, b) for pair in pairs for a, b in zip(*pair, strict=True))
            assert same, f"{where}, {tag}: {theirs}, expected {ours}"
            counts[kind] += 1


def read_files():
    for run in EXPECTED:
        accumulator = EventAccumulator(f"{FOLDER}/{run}", size_guidance=dict.fromkeys(KINDS, 0))
        accumulator.Reload()
        tags = accumulator.Tags()

        def buckets(histogram):
            limits = histogram.bucket_limit
            return [list(bucket) for bucket in zip([histogram.min] + limits[:-1], limits, histogram.bucket, strict=True)]

        def values(kind, tag):
            if kind == "scalars":
                return [[event.step, event.value] for event in accumulator.Scalars(tag)]
            if kind == "histograms":
                return [[event.step, buckets(event.histogram_value)] for event in accumulator.Histograms(tag)]
            images = accumulator.Images(tag)
            assert all(image.width == image.height for image in images), images
            return [[i.step, i.width, base64.b64encode(i.encoded_image_string).decode()] for i in images]

        for kind in KINDS:
            compare("event files", run, kind, {tag: values(kind, tag) for tag in tags[kind]})


def read_pages(reader, options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not 0, which is said to keep all and shows none.
    samples = ",".join(f"{kind}=100000" for kind in KINDS)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", FOLDER, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command + ["--samples_per_plugin", samples] + options, stderr=subprocess.DEVNULL)

    def get(path, **query):
        url = f"http://127.0.0.1:{port}/data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read()

    def plugin(path, **query):
        return json.loads(get(f"plugin/{path}", **query))

    def everything_of(kind, run):
        found = {}
        for tag in plugin(f"{kind}/tags").get(run, {}):
            if kind == "images":
                pictures = plugin("images/images", run=run, tag=tag, sample=0)
                found[tag] = []
                for picture in pictures:
                    query = dict(urllib.parse.parse_qsl(picture["query"]))
                    png = get("plugin/images/individualImage", **query)
                    # In the header of a PNG: its width.
                    side = int.from_bytes(png[16:20], "big")
                    found[tag].append([picture["step"], side, base64.b64encode(png).decode()])
            else:
                values = plugin(f"{kind}/{kind}", run=run, tag=tag)
                found[tag] = [[step, value] for _, step, value in values]
        return found

    def differs():
        try:
            for run in EXPECTED:
                for kind in KINDS:
                    compare(reader, run, kind, everything_of(kind, run))
        except (urllib.error.URLError, ConnectionError, AssertionError) as error:
            return error

    try:
        # It reads files while it answers, so that it takes a while until all is there.
        before, end = dict(counts), time.monotonic() + 60
        while (error := differs()) is not None:
            assert time.monotonic() < end and server.poll() is None, error
            counts.update(before)
            time.sleep(0.5)
    finally:
        server.terminate()
        server.wait()


read_files()
read_pages("Python server", ["--load_fast=false"])
read_pages("Rust server", ["--load_fast=true"])
print("tensorboard:", ", ".join(f"{count} {kind}" for kind, count in counts.items()), "as written, by three readers")
