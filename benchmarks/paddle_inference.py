"""PP-LCNetV2 with a BNNeck in Paddle Inference with oneDNN: the peer of `latency.py`, which starts this
script with a Python that has `paddlepaddle`.

    python paddle_inference.py FOLDER THREADS

FOLDER holds `weights.npz` (the state of our model, branches fused), which become the same graph in layers of
Paddle: batch norms stay layers of their own, as in the models that PaddleClas exports; Paddle folds them.
After a line `{"ready": …}` each line of input is answered with a line of JSON:

    outputs IN.npy OUT.npy      features of a batch in a file
    time BATCH RUNS             milliseconds of each run
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.inference
from paddle import nn

SIDE = 224
STRIDES = {"stem.0": 2, "stages.0.0": 2, "stages.1.0": 2, "stages.2.0": 2}
"""Of layers and blocks that halve the map; all others keep it."""

KEEP = 0.8
"""What the dropout before the features multiplies by after training."""

EPSILON = 1e-5


class Convolution(nn.Layer):
    """Convolution, batch norm where the weights have one, ReLU where asked for."""

    def __init__(self, weights: dict[str, Any], name: str, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        inside = f"{name}.conv" if f"{name}.conv.weight" in weights else name
        kernel = weights[f"{inside}.weight"]
        bias = weights.get(f"{inside}.bias")
        groups = len(kernel) if kernel.shape[1] == 1 else 1
        self.convolution = nn.Conv2D(
            kernel.shape[1] * groups, len(kernel), kernel.shape[2], stride, kernel.shape[2] // 2,
            groups=groups, bias_attr=None if bias is not None else False,
        )  # fmt: skip
        self.convolution.weight.set_value(kernel)
        if bias is not None:
            self.convolution.bias.set_value(bias)
        self.norm = nn.Identity()
        if f"{name}.bn.weight" in weights:
            self.norm = norm(nn.BatchNorm2D, weights, f"{name}.bn")
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Any) -> Any:
        return self.activation(self.norm(self.convolution(x)))


def norm(kind: Any, weights: dict[str, Any], name: str) -> Any:
    made = kind(len(weights[f"{name}.weight"]), epsilon=EPSILON)
    made.weight.set_value(weights[f"{name}.weight"])
    made.bias.set_value(weights[f"{name}.bias"])
    made._mean.set_value(weights[f"{name}.running_mean"])
    made._variance.set_value(weights[f"{name}.running_var"])
    return made


class Excite(nn.Layer):
    """x * sigmoid(second(relu(first(mean(x)))))."""

    def __init__(self, weights: dict[str, Any], name: str) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.first = Convolution(weights, f"{name}.conv1")
        self.second = Convolution(weights, f"{name}.conv2", relu=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Any) -> Any:
        return x * self.gate(self.second(self.first(self.pool(x))))


class Block(nn.Layer):
    """Depthwise → [squeeze and excite →] pointwise, in one or two layers [→ + input]."""

    def __init__(self, weights: dict[str, Any], name: str, stride: int, shortcut: bool) -> None:
        super().__init__()
        layers = [Convolution(weights, f"{name}.dw_conv", stride)]
        if f"{name}.se.conv1.weight" in weights:
            layers.append(Excite(weights, f"{name}.se"))
        pointwise = [part for part in ("pw_conv", "pw_conv_1", "pw_conv_2") if has(weights, f"{name}.{part}")]
        layers += [Convolution(weights, f"{name}.{part}") for part in pointwise]
        self.layers = nn.Sequential(*layers)
        channels = len(weights[f"{name}.{pointwise[-1]}.conv.weight"])
        self.shortcut = shortcut and channels == len(weights[f"{name}.{pointwise[0]}.conv.weight"][0])

    def forward(self, x: Any) -> Any:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class Network(nn.Layer):
    """(N, 3, H, W) → features (N, 512) of length 1."""

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        blocks = [Convolution(weights, "stem.0", STRIDES["stem.0"]), Block(weights, "stem.1", 1, False)]
        for stage in range(4):
            index = 0
            while has(weights, name := f"stages.{stage}.{index}"):
                blocks.append(Block(weights, name, STRIDES.get(name, 1), shortcut=stage == 3))
                index += 1
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.last = Convolution(weights, "last_conv", relu=False)
        self.neck = norm(nn.BatchNorm1D, weights, "neck.feat_bn")

    def forward(self, x: Any) -> Any:
        features = self.neck((self.last(self.pool(self.blocks(x))) * KEEP).flatten(1))
        return nn.functional.normalize(features, axis=1)


def has(weights: dict[str, Any], name: str) -> bool:
    return any(key.startswith(f"{name}.") for key in weights)


def save(weights: dict[str, Any], prefix: str) -> None:
    network = Network(weights)
    network.eval()
    taken = paddle.static.InputSpec([None, 3, SIDE, SIDE], "float32", "images")
    paddle.jit.save(network, prefix, input_spec=[taken])


def load(prefix: str, threads: int) -> Any:
    program = next(path for path in (f"{prefix}.json", f"{prefix}.pdmodel") if Path(path).is_file())
    config = paddle.inference.Config(program, f"{prefix}.pdiparams")
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(threads)
    config.switch_ir_optim(True)
    config.disable_glog_info()
    return paddle.inference.create_predictor(config)


class Runner:
    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor
        self.taken = predictor.get_input_handle(predictor.get_input_names()[0])
        self.given = predictor.get_output_handle(predictor.get_output_names()[0])

    def __call__(self, batch: Any) -> Any:
        self.taken.reshape(batch.shape)
        self.taken.copy_from_cpu(batch)
        self.predictor.run()
        return self.given.copy_to_cpu()


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    paddle.set_device("cpu")
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        save({name: stored[name] for name in stored.files}, str(folder / "paddle"))
    run = Runner(load(str(folder / "paddle"), threads))
    print(json.dumps({"ready": paddle.__version__}), flush=True)
    for line in sys.stdin:
        verb, first, second = line.split()
        if verb == "outputs":
            np.save(second, run(np.load(first, allow_pickle=False)))
            print(json.dumps({"done": second}), flush=True)
        else:
            batch = np.random.default_rng(0).standard_normal((int(first), 3, SIDE, SIDE), np.float32)
            times = []
            for _ in range(int(second)):
                start = time.perf_counter()
                run(batch)
                times.append(1000 * (time.perf_counter() - start))
            print(json.dumps({"milliseconds": times}), flush=True)


if __name__ == "__main__":
    main()
