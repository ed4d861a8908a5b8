#!/usr/bin/env python3
"""The PyTorch peer: the networks of this workspace, trained by PyTorch with the same recipe.

Two uses. `--data DIR` trains one network on CIFAR-10 and prints one JSON line per epoch (learning parity,
run by `cargo xtask parity`). `--bench` times whole training steps on synthetic images (speed comparison, run by
`cargo xtask bench --peer`, and with `--device cuda` by `cargo xtask gpu`).

    python peer.py --data DIR --arch macro:c3.0/d3.1/c5.1+2/mp.0+3 --images 45000 --epochs 3 --seed 1
    python peer.py --bench --arch macro:c3.0/d3.1/c5.1+2/mp.0+3 --batch 64 --modes fp32,fp32-cl,bf16-cl
    python peer.py --bench --device cuda --arch macro:c3.0/d3.1/c5.1+2/mp.0+3 --modes graph-tf32-cl,graph-bf16-cl

Macro network (docs/algorithm.md): stem = conv3x3 + BN, no ReLU. Layer l reads the listed outputs (0 is the stem, j is
layer j), each max-pooled 3x3 stride 2 pad 1 once for every resolution boundary between it and l (boundaries lie
after layers floor(L/3) and 2*floor(L/3)); concat, conv1x1, BN, ReLU; then the operation. A k x k convolution is
conv, BN, ReLU; a depthwise one is depthwise k x k, pointwise 1x1, BN, ReLU; the pools are 3x3, stride 1, pad 1, and
the average counts its padding. Last: global average, linear. BN eps 1e-5, momentum 0.1.

Micro network: `Cell` and `MicroNetwork` below.

Recipe: SGD momentum 0.9, weight decay 5e-4 on every parameter, global gradient norm clipped to 5, cosine from
`--lr` to 0 by step, pad-4 random crop with black pixels, horizontal flip, per-channel normalization from the
training images, the last partial batch of an epoch dropped. The first n training images train, the last
`--validation` (5,000) of the 50,000 validate, with running statistics.

Needs torch and nothing else. The two sides differ in their random numbers only.
"""

import argparse
import gc
import json
import math
import os
import statistics
import sys
import time
import warnings

# NumPy is not needed, and PyTorch says in every run that it is not there.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
# Idle OpenMP threads spin otherwise, which costs torch most of a small shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn as nn
import torch.nn.functional as F

SIZE = 32
CLASSES = 10
RECORD = 1 + 3 * SIZE * SIZE
PAD = 4
OPERATIONS = {
    "mp": ("max", 3),
    "ap": ("avg", 3),
    "c3": ("conv", 3),
    "c5": ("conv", 5),
    "d3": ("depthwise", 3),
    "d5": ("depthwise", 5),
}


def parse_arch(text):
    """`macro:c3.0/d3.1/c5.1+2` -> [("c3", [0]), ("d3", [1]), ("c5", [1, 2])]."""
    space, _, body = text.partition(":")
    if space != "macro" or not body:
        raise ValueError(f"{text!r}: expected macro:OP.SOURCE[+SOURCE..]/..")
    layers = []
    for index, part in enumerate(body.split("/"), start=1):
        code, _, sources = part.partition(".")
        if code not in OPERATIONS:
            raise ValueError(f"{text!r}: layer {index}: unknown operation {code!r}, expected one of {list(OPERATIONS)}")
        numbers = sorted({int(s) for s in sources.split("+")})
        if not numbers or numbers[0] < 0 or numbers[-1] >= index:
            raise ValueError(f"{text!r}: layer {index}: sources {sources!r} must lie in 0..{index - 1}")
        layers.append((code, numbers))
    return layers


def parse_cell(text):
    """`micro:c3.-2+mp.-1/d5.0+id.-1` -> [[("c3", -2), ("mp", -1)], [("d5", 0), ("id", -1)]]."""
    blocks = []
    for index, part in enumerate(text.partition(":")[2].split("/")):
        pairs = [half.split(".") for half in part.split("+")]
        if len(pairs) != 2 or any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"{text!r}: block {index}: {part!r}: expected OP.SOURCE+OP.SOURCE")
        block = [(code, int(source)) for code, source in pairs]
        for code, source in block:
            if code not in OPERATIONS and code != "id":
                raise ValueError(f"{text!r}: block {index}: unknown operation {code!r}")
            if not -2 <= source < index:
                raise ValueError(f"{text!r}: block {index}: source {source} must lie in -2..{index - 1}")
        blocks.append(block)
    return blocks


def live_layers(layers):
    """Indices of the layers that reach the last one: the others are not built."""
    live, stack = set(), [len(layers)]
    while stack:
        index = stack.pop()
        if index and index not in live:
            live.add(index)
            stack.extend(layers[index - 1][1])
    return live


def boundaries(depth):
    """Layers after which the resolution halves."""
    third = depth // 3
    return [third, 2 * third] if third else []


def convolution(inputs, outputs, kernel, groups=1, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


class Operation(nn.Module):
    """One operation, channels -> channels, at stride 1 or 2."""

    def __init__(self, code, channels, stride=1):
        super().__init__()
        kind, kernel = OPERATIONS[code]
        if kind == "max":
            self.body = nn.MaxPool2d(3, stride=stride, padding=1)
        elif kind == "avg":
            self.body = nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=True)
        elif kind == "conv":
            self.body = nn.Sequential(
                convolution(channels, channels, kernel, stride=stride), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
            )
        else:
            self.body = nn.Sequential(
                convolution(channels, channels, kernel, groups=channels, stride=stride),
                convolution(channels, channels, 1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )

    def forward(self, x):
        return self.body(x)


class MacroNetwork(nn.Module):
    """The network of a macro architecture; [n, 3, 32, 32] normalized images -> [n, 10] logits."""

    def __init__(self, layers, channels, depth=None):
        super().__init__()
        self.layers = layers
        self.boundaries = boundaries(depth or len(layers))
        self.stem = nn.Sequential(convolution(3, channels, 3), nn.BatchNorm2d(channels))
        self.merge = nn.ModuleDict()
        self.operation = nn.ModuleDict()
        live = live_layers(layers)
        for index, (code, sources) in enumerate(layers, start=1):
            if index in live:
                self.merge[str(index)] = nn.Sequential(
                    convolution(channels * len(sources), channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
                )
                self.operation[str(index)] = Operation(code, channels)
        self.head = nn.Linear(channels, CLASSES)
        self.initialize()

    def initialize(self):
        """He-normal convolutions over their fan-out, as ours: a 1x1 that merges several sources is one slice per source
        there, each from the same distribution, and a depthwise filter counts its own window."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        bound = 1.0 / math.sqrt(self.head.in_features)
        nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)

    def resolution(self, index):
        """How often the maps that layer `index` works on have been halved."""
        return sum(index > b for b in self.boundaries)

    def forward(self, x):
        # (source, halvings) -> map; a source that is read across a boundary is pooled once.
        maps = {(0, 0): self.stem(x)}

        def read(source, level):
            if (source, level) not in maps:
                maps[source, level] = F.max_pool2d(read(source, level - 1), 3, stride=2, padding=1)
            return maps[source, level]

        for index, (_, sources) in enumerate(self.layers, start=1):
            if str(index) not in self.merge:
                continue
            level = self.resolution(index)
            inputs = [read(s, level) for s in sources]
            merged = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)
            maps[index, level] = self.operation[str(index)](self.merge[str(index)](merged))
        last = maps[len(self.layers), self.resolution(len(self.layers))]
        return self.head(last.mean(dim=(2, 3)))


class FactorizedReduction(nn.Module):
    """Halves the resolution: 1x1 of the even pixels beside 1x1 of the odd ones, BN."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, (channels + 1) // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(channels, channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.norm(torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1))


class Cell(nn.Module):
    """One cell: blocks of two operations whose results are added; the blocks that no other reads go through 1x1, BN,
    ReLU. `calibrate`: the cell before the previous one has twice the resolution."""

    def __init__(self, blocks, channels, reduction, calibrate):
        super().__init__()
        self.blocks = blocks
        self.calibrate = FactorizedReduction(channels) if calibrate else nn.Identity()
        self.operations = nn.ModuleList()
        read = set()
        for block in blocks:
            for code, source in block:
                stride = 2 if reduction and source < 0 else 1
                if source >= 0:
                    read.add(source)
                if code != "id":
                    self.operations.append(Operation(code, channels, stride))
                else:
                    self.operations.append(FactorizedReduction(channels) if stride == 2 else nn.Identity())
        self.outputs = [b for b in range(len(blocks)) if b not in read]
        self.out = nn.Sequential(
            convolution(channels * len(self.outputs), channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def forward(self, before_previous, previous):
        maps = {-2: self.calibrate(before_previous), -1: previous}
        operations = iter(self.operations)
        for index, block in enumerate(self.blocks):
            maps[index] = sum(next(operations)(maps[source]) for _, source in block)
        merged = [maps[b] for b in self.outputs]
        return self.out(merged[0] if len(merged) == 1 else torch.cat(merged, dim=1))


class MicroNetwork(nn.Module):
    """The network of a cell: n cells, reduction, n cells, reduction, n cells, all of constant channels."""

    def __init__(self, blocks, channels, cells_per_stage):
        super().__init__()
        self.stem = nn.Sequential(convolution(3, channels, 3), nn.BatchNorm2d(channels))
        period = cells_per_stage + 1
        count = 3 * period - 1
        reductions = [index % period == cells_per_stage for index in range(count)]
        # The cell before the previous one lies before a reduction exactly when the previous cell is one.
        self.cells = nn.ModuleList(
            Cell(blocks, channels, reductions[i], i > 0 and reductions[i - 1]) for i in range(count)
        )
        self.head = nn.Linear(channels, CLASSES)
        MacroNetwork.initialize(self)

    def forward(self, x):
        before_previous = previous = self.stem(x)
        for cell in self.cells:
            before_previous, previous = previous, cell(before_previous, previous)
        return self.head(previous.mean(dim=(2, 3)))


def read_batch(path):
    """One CIFAR-10 binary file -> (pixels [n, 3, 32, 32] u8, labels [n] i64)."""
    with open(path, "rb") as file:
        raw = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    if raw.numel() == 0 or raw.numel() % RECORD:
        raise ValueError(f"{path}: {raw.numel()} bytes is no multiple of {RECORD}")
    records = raw.view(-1, RECORD)
    return records[:, 1:].reshape(-1, 3, SIZE, SIZE).contiguous(), records[:, 0].long()


def load(directory, images, validation):
    """The first `images` of the training part, and its last `validation`."""
    parts = [read_batch(os.path.join(directory, f"data_batch_{i}.bin")) for i in range(1, 6)]
    pixels = torch.cat([p for p, _ in parts])
    labels = torch.cat([label for _, label in parts])
    if images + validation > len(labels):
        raise ValueError(f"--images {images} and --validation {validation} overlap: there are {len(labels)} images")
    return (pixels[:images], labels[:images]), (pixels[-validation:], labels[-validation:])


class Pipeline:
    """Normalization and augmentation of batches of u8 images, vectorized."""

    def __init__(self, pixels, layout):
        scaled = pixels.float() / 255.0
        self.mean = scaled.mean(dim=(0, 2, 3)).view(1, 3, 1, 1)
        self.std = scaled.std(dim=(0, 2, 3), unbiased=False).view(1, 3, 1, 1)
        self.layout = layout
        self.span = torch.arange(SIZE)

    def plain(self, pixels):
        return ((pixels.float() / 255.0 - self.mean) / self.std).contiguous(memory_format=self.layout)

    def augmented(self, pixels, generator):
        n = len(pixels)
        padded = F.pad(pixels, (PAD, PAD, PAD, PAD))  # black before normalization
        y = torch.randint(0, 2 * PAD + 1, (n, 1), generator=generator) + self.span
        x = torch.randint(0, 2 * PAD + 1, (n, 1), generator=generator) + self.span
        flip = torch.rand(n, 1, generator=generator) < 0.5
        x = torch.where(flip, x.flip(1), x)
        rows = torch.arange(n).view(n, 1, 1)
        cropped = padded[rows, :, y.view(n, SIZE, 1), x.view(n, 1, SIZE)]  # [n, 32, 32, 3]
        return self.plain(cropped.permute(0, 3, 1, 2))


class Step:
    """One training step of a network: forward, loss, backward, clip, update."""

    def __init__(self, network, lr, steps, precision):
        self.network = network
        self.steps = steps
        self.lr = lr
        self.precision = precision
        self.optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)

    def run(self, index, x, labels):
        for group in self.optimizer.param_groups:
            group["lr"] = 0.5 * self.lr * (1.0 + math.cos(math.pi * index / self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        if self.precision == "bf16w":
            x = x.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(x)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        return loss.detach()


def mode(text):
    """`fp32`, `fp32-cl`, `bf16-cl` -> (precision, memory format). `bf16` is autocast, `bf16w` has bf16 weights."""
    precision, _, layout = text.partition("-")
    if precision not in ("fp32", "bf16", "bf16w") or layout not in ("", "cl"):
        raise ValueError(f"{text!r}: expected fp32, bf16 (autocast) or bf16w (bf16 weights), alone or with -cl")
    return precision, torch.channels_last if layout else torch.contiguous_format


def build(args, arch, layout):
    if arch.startswith("micro:"):
        network = MicroNetwork(parse_cell(arch), args.channels, args.cells_per_stage)
    else:
        network = MacroNetwork(parse_arch(arch), args.channels, args.depth)
    return network.to(memory_format=layout)


def accuracy(network, pipeline, pixels, labels, batch=500):
    network.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(labels), batch):
            logits = network(pipeline.plain(pixels[start : start + batch]))
            correct += (logits.argmax(dim=1) == labels[start : start + batch]).sum().item()
    network.train()
    return correct / len(labels)


def train(args):
    """Trains one network, printing a JSON line per epoch."""
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    (pixels, labels), held_out = load(args.data, args.images, args.validation)
    precision, layout = mode("fp32-cl" if args.channels_last else "fp32")
    network = build(args, args.arch[0], layout)
    pipeline = Pipeline(pixels, layout)
    per_epoch = len(labels) // args.batch
    if per_epoch == 0:
        raise ValueError(f"--batch {args.batch} exceeds --images {args.images}")
    step = Step(network, args.lr, per_epoch * args.epochs, precision)
    for epoch in range(1, args.epochs + 1):
        order = torch.randperm(len(labels), generator=generator)[: per_epoch * args.batch].view(per_epoch, args.batch)
        loss, started = 0.0, time.perf_counter()
        for index, chosen in enumerate(order):
            x = pipeline.augmented(pixels[chosen], generator)
            loss += step.run((epoch - 1) * per_epoch + index, x, labels[chosen]).item()
        seconds = time.perf_counter() - started
        line = {
            "epoch": epoch,
            "loss": loss / per_epoch,
            "accuracy": accuracy(network, pipeline, *held_out),
            "images_per_second": per_epoch * args.batch / seconds,
        }
        print(json.dumps(line), flush=True)


def bench(args):
    """Times whole steps, alternating the modes A B A B so that a drifting machine hits all alike.

    A mode under half the speed of the fastest (a quarter in the window that warms up) cannot be the best and gets no
    further window: without instructions for bf16 one step of it can take minutes.
    """
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    pixels = torch.randint(0, 256, (max(4 * args.batch, 1024), 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (len(pixels),), generator=generator)
    modes = args.modes.split(",")
    for arch in args.arch:
        steps = {}
        for text in modes:
            precision, layout = mode(text)
            network = build(args, arch, layout)
            network = network.bfloat16() if precision == "bf16w" else network
            steps[text] = (Step(network, args.lr, 10**6, precision), Pipeline(pixels, layout))
        rates = {text: [] for text in modes}
        running = list(modes)
        for window in range(args.windows + 1):  # the first window warms up
            latest = {}
            for text in running:
                step, pipeline = steps[text]
                done, started = 0, time.perf_counter()
                while done == 0 or time.perf_counter() - started < args.seconds:
                    chosen = torch.randint(0, len(pixels), (args.batch,), generator=generator)
                    step.run(done, pipeline.augmented(pixels[chosen], generator), labels[chosen])
                    done += 1
                latest[text] = done * args.batch / (time.perf_counter() - started)
            least = max(latest.values()) * (0.5 if window else 0.25)
            for text, rate in latest.items():
                if window or rate < least:
                    rates[text].append(rate)
            running = [text for text in running if latest[text] >= least]
        for text in modes:
            line = {
                "arch": arch,
                "mode": text,
                "batch": args.batch,
                "channels": args.channels,
                "threads": torch.get_num_threads(),
                "images_per_second": statistics.median(rates[text]),
                "windows": [round(r, 1) for r in rates[text]],
            }
            print(json.dumps(line), flush=True)


class DeviceStep:
    """One training step of a network that never waits for the host, so that a CUDA graph can hold all of it: batch,
    augmentation, forward, loss, backward, clip, update. The host writes which images and the learning rate beforehand.

    bf16: convolutions and the linear layer have bf16 weights, with masters in fp32 that the optimizer updates. That is
    two copies of all weights a step, where autocast would be a cast kernel for every single one.
    """

    def __init__(self, network, pixels, labels, batch, lr, precision, layout):
        device = pixels.device
        self.layout = layout
        scaled = pixels.float() / 255.0
        self.mean = scaled.mean(dim=(0, 2, 3))
        self.std = scaled.std(dim=(0, 2, 3), unbiased=False)
        # [n, 40, 40, 3]: black before normalization, and a pixel's channels lie together.
        self.padded = F.pad(pixels, (PAD, PAD, PAD, PAD)).permute(0, 2, 3, 1).contiguous()
        self.labels = labels
        self.span = torch.arange(SIZE, device=device)
        self.chosen = torch.zeros(batch, dtype=torch.int64, device=device)
        self.lr = torch.tensor(lr, dtype=torch.float32, device=device)
        self.loss = torch.zeros((), device=device)
        self.network = network
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.parameters = list(network.parameters())
        self.low, self.masters = [], []
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = None  # a kernel each, for a number that nobody reads
            elif precision == "bf16" and isinstance(module, (nn.Conv2d, nn.Linear)):
                for parameter in module.parameters(recurse=False):
                    master = parameter.detach().clone()
                    master.grad = torch.zeros_like(master)
                    parameter.data = parameter.data.bfloat16()
                    self.low.append(parameter)
                    self.masters.append(master)
        self.updated = self.masters + [p for p in self.parameters if p.dtype == torch.float32]
        self.optimizer = torch.optim.SGD(self.updated, lr=self.lr, momentum=0.9, weight_decay=5e-4, fused=True)

    def batch(self):
        """Augmented, normalized images of the chosen, [n, 3, 32, 32], and their labels."""
        n, device = len(self.chosen), self.chosen.device
        y = torch.randint(0, 2 * PAD + 1, (n, 1), device=device) + self.span
        x = torch.randint(0, 2 * PAD + 1, (n, 1), device=device) + self.span
        flip = torch.rand(n, 1, device=device) < 0.5
        x = torch.where(flip, x.flip(1), x)
        cropped = self.padded[self.chosen.view(n, 1, 1), y.view(n, SIZE, 1), x.view(n, 1, SIZE)]
        images = ((cropped.float() / 255.0 - self.mean) / self.std).to(self.dtype)
        return images.permute(0, 3, 1, 2).contiguous(memory_format=self.layout), self.labels[self.chosen]

    def forget_gradients(self):
        for parameter in self.parameters:
            parameter.grad = None

    def run(self):
        self.forget_gradients()
        images, labels = self.batch()
        loss = F.cross_entropy(self.network(images).float(), labels)
        loss.backward()
        for parameter in self.parameters:
            # Strides of dimensions of size 1 mean nothing, but the fused optimizer wants them equal too.
            if parameter.grad.stride() != parameter.stride():
                parameter.grad = parameter.grad.as_strided(parameter.shape, parameter.stride())
        if self.low:
            torch._foreach_copy_([m.grad for m in self.masters], [p.grad for p in self.low])
        torch.nn.utils.clip_grad_norm_(self.updated, 5.0)
        self.optimizer.step()
        if self.low:
            with torch.no_grad():
                torch._foreach_copy_(self.low, self.masters)
        self.loss.copy_(loss.detach())


def compile_regions(network):
    """Compiles stem, merges, operations or cells each by itself: parts that are alike are compiled once, in this network
    and in the next."""
    import torch._dynamo

    for limit in ("recompile_limit", "cache_size_limit"):  # its name in newer and in older versions
        if hasattr(torch._dynamo.config, limit):
            setattr(torch._dynamo.config, limit, 512)
    parts = [network.cells] if isinstance(network, MicroNetwork) else [network.merge.values(), network.operation.values()]
    for region in [network.stem, *(region for part in parts for region in part)]:
        region.compile(fullgraph=True, dynamic=False)


class Captured:
    """A DeviceStep as a CUDA graph, and what it took to make."""

    def __init__(self, args, arch, text, pixels, labels):
        compiled, precision, layout = device_mode(text)
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        network = build(args, arch, layout).to(pixels.device)
        if compiled:
            compile_regions(network)
        self.lr = args.lr
        self.done = 0
        self.seconds = {}
        self.step = DeviceStep(network, pixels, labels, args.batch, args.lr, precision, layout)
        self.order = torch.randperm(len(labels), device=pixels.device)
        self.capture(compiled)

    def timed(self, name, work):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        self.seconds[name] = time.perf_counter() - started

    def capture(self, compiled):
        self.prepare()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            if compiled:
                self.timed("compile_seconds", self.step.run)
            self.timed("first_step_seconds", self.step.run)
            self.step.run()
        torch.cuda.current_stream().wait_stream(stream)
        self.step.forget_gradients()
        self.graph = torch.cuda.CUDAGraph()

        def capture():
            # Backward runs on a thread of its own, which the strictest mode would refuse.
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.step.run()

        gc.disable()  # a collection during capture could free what belongs to the device
        try:
            self.timed("capture_seconds", capture)
        finally:
            gc.enable()

    def prepare(self):
        """What the host writes before every step."""
        batch = len(self.step.chosen)
        first = self.done * batch % (len(self.order) - batch + 1)
        self.step.chosen.copy_(self.order[first : first + batch])
        self.step.lr.fill_(0.5 * self.lr * (1.0 + math.cos(math.pi * self.done / 10**6)))
        self.done += 1

    def rate(self, steps):
        """Images a second over some steps."""
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(steps):
            self.prepare()
            self.graph.replay()
        torch.cuda.synchronize()
        return steps * len(self.step.chosen) / (time.perf_counter() - started)


def device_mode(text):
    """`graph-bf16-cl`, `rcompile-graph-tf32` -> (whether compiled, precision, memory format)."""
    compiled = text.startswith("rcompile-")
    words = text.removeprefix("rcompile-").split("-")
    known = len(words) in (2, 3) and words[0] == "graph" and words[1] in ("fp32", "tf32", "bf16") and words[2:] in ([], ["cl"])
    if not known:
        raise ValueError(f"{text!r}: expected graph- or rcompile-graph-, then fp32, tf32 or bf16, alone or with -cl")
    return compiled, words[1], torch.channels_last if words[2:] else torch.contiguous_format


def bench_device(args):
    """Times whole steps on a GPU, alternating the modes. A mode that fails says so in its line and stops no other."""
    if not torch.cuda.is_available():
        raise ValueError("--device cuda: this PyTorch finds no GPU")
    modes = args.modes.split(",")
    for text in modes:
        device_mode(text)
    device = torch.device("cuda")
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    # Context and libraries come once, with whatever runs first: not at the expense of the first network.
    warm = nn.Conv2d(3, 8, 3).to(device)
    warm(torch.zeros(1, 3, 8, 8, device=device)).sum().backward()
    pixels = torch.randint(0, 256, (max(4 * args.batch, 50000), 3, SIZE, SIZE), dtype=torch.uint8, device=device)
    labels = torch.randint(0, CLASSES, (len(pixels),), device=device)
    for arch in args.arch:
        captured, errors = {}, {}
        for text in modes:
            try:
                captured[text] = Captured(args, arch, text, pixels, labels)
            except Exception as error:  # of the compiler, the driver or the graph
                errors[text] = f"{type(error).__name__}: {error}".splitlines()[0]
        rates = {text: [] for text in captured}
        steps = {}
        for window in range(args.windows + 1):  # the first window warms up, and finds out how many steps fill one
            for text, one in captured.items():
                if window == 0:
                    rate = [one.rate(10), one.rate(50)][-1]
                    steps[text] = max(1, math.ceil(args.seconds * rate / args.batch))
                else:
                    rates[text].append(one.rate(steps[text]))
        for text in modes:
            line = {"arch": arch, "mode": text, "batch": args.batch, "channels": args.channels}
            if text in captured:
                line["device"] = torch.cuda.get_device_name(device)
                line["images_per_second"] = statistics.median(rates[text])
                line["windows"] = [round(rate, 1) for rate in rates[text]]
                line["loss"] = captured[text].step.loss.item()
                line.update(captured[text].seconds)
            else:
                line["error"] = errors[text]
            print(json.dumps(line), flush=True)
        captured = one = None  # the graphs' memory, before the next network's


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", action="append", help="architecture text; --bench takes several")
    parser.add_argument("--data", help="folder with CIFAR-10's binary files")
    parser.add_argument("--bench", action="store_true", help="time steps instead of training")
    parser.add_argument("--params", action="store_true", help="print the number of parameters and stop")
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--depth", type=int, help="the space's number of layers, which places the pools; default: the text's")
    parser.add_argument("--cells-per-stage", type=int, default=2, help="micro networks")
    parser.add_argument("--images", type=int, default=45000)
    parser.add_argument("--validation", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: torch's own choice")
    parser.add_argument("--channels-last", action="store_true", help="train in the channels-last memory format")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="--bench: where")
    parser.add_argument("--modes", default="fp32,fp32-cl", help="--bench: fp32, bf16 (autocast), bf16w (bf16 weights), each also with -cl (channels last); with --device cuda: graph-fp32, graph-tf32, graph-bf16 (the step as one CUDA graph), each also with -cl, and with rcompile- before it (regions compiled); comma-separated")
    parser.add_argument("--seconds", type=float, default=2.0, help="--bench: length of a timing window")
    parser.add_argument("--windows", type=int, default=5, help="--bench: windows per mode, whose median is reported")
    return parser, parser.parse_args()


def main():
    parser, args = arguments()
    if not args.arch:
        parser.error("--arch is needed")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        if args.params:
            for arch in args.arch:
                print(json.dumps({"arch": arch, "params": sum(p.numel() for p in build(args, arch, torch.contiguous_format).parameters())}))
        elif args.bench and args.device == "cuda":
            bench_device(args)
        elif args.device == "cuda":
            parser.error("--device cuda goes with --bench")
        elif args.bench:
            bench(args)
        elif args.data and len(args.arch) == 1:
            train(args)
        else:
            parser.error("give --bench, or --data with one --arch")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
