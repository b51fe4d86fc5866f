"""A network of timm as a model folder, with timm's own preprocessing; and back, from a model folder to timm.

    python examples/with_timm.py mobilenetv3_small_100.lamb_in1k my_model photo.jpg

fetches timm's weights, writes the model folder `my_model`, and says how near the vectors of both are. With
`lookalike train`, `Arch.Backbone: {name: timm/NAME, pretrained: true}` fine-tunes the same network, and
`to_timm` takes it back from its folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lookalike import Embedder, ModelFolder, Recipe, export


def to_folder(name: str, folder: str | Path, pretrained: bool | str = True) -> None:
    """Write the model folder of a network of timm. `pretrained` may be a file of its weights."""
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    _, height, width = config["input_size"]
    resized = {
        "size": int(height / config["crop_pct"]),
        "interpolation": config["interpolation"],
        "backend": "pil",
    }
    scale = {"scale": "1.0/255.0", "mean": list(config["mean"]), "std": list(config["std"]), "order": "hwc"}
    steps: list[dict[str, Any]] = [
        {"Resize": resized},
        {"CenterCrop": {"size": [height, width]}},
        {"NormalizeImage": scale},
    ]
    recipe = {
        "Global": {"feature_normalize": False, "retrieval_feature_from": "backbone"},
        "Arch": {"name": "RecModel", "Backbone": {"name": f"timm/{name}", "pretrained": pretrained}},
        "RecPreProcess": {"transform_ops": steps},
    }
    export(Recipe.from_dict(recipe), folder)


def to_timm(folder: str | Path) -> nn.Module:
    """The backbone of a model folder, `timm/NAME` in its recipe, as a network of timm without classifier."""
    opened = ModelFolder.open(folder)
    name = opened.architecture["arch"]["Backbone"]["name"]
    model = timm.create_model(name.removeprefix("timm/"), num_classes=0)
    weights = load_file(opened.weights_file)
    own = [key for key in weights if key.startswith("backbone.")]
    model.load_state_dict({key.removeprefix("backbone."): weights[key] for key in own})
    return model.eval()


def main(name: str, folder: str, picture: str, pretrained: bool | str = True) -> float:
    to_folder(name, folder, pretrained)
    model = to_timm(folder)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    with torch.inference_mode():
        theirs = model(transform(Image.open(picture).convert("RGB"))[None])
    ours = torch.from_numpy(Embedder(folder).encode(picture))
    cosine = nn.functional.cosine_similarity(theirs, ours).item()
    print(f"{folder}: {ours.shape[1]} numbers a picture; cosine to timm's own vector {cosine:.6f}")
    return cosine


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
