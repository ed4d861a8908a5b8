"""Runs exported networks in onnxruntime and torch: check.py FOLDER, in which each folder is a network.

Reads network.onnx, network.py, shape and images; writes logits as onnxruntime and torch, in single precision.
"""

import importlib.util
import pathlib
import sys

import numpy
import onnx
import onnxruntime
import torch

torch.set_num_threads(2)
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    shape = [int(size) for size in (folder / "shape").read_text().split()]
    images = numpy.fromfile(folder / "images", dtype=numpy.float32).reshape(shape)

    onnx.checker.check_model(str(folder / "network.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert set(metadata) == {"architecture", "classes", "normalization", "mean", "std"}, metadata
    # Any number of images: in two unequal parts.
    parts = [session.run(["logits"], {"images": part})[0] for part in (images[:3], images[3:])]
    numpy.concatenate(parts).astype(numpy.float32).tofile(folder / "onnxruntime")

    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load()
    with torch.no_grad():
        logits = network(torch.from_numpy(images))
    assert len(module.CLASSES) == logits.shape[1]
    logits.numpy().astype(numpy.float32).tofile(folder / "torch")
    # What was exported can be trained on.
    network.train()
    torch.nn.functional.cross_entropy(network(torch.from_numpy(images[:4])), torch.zeros(4, dtype=torch.long)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
