"""A folder of JPEG files to Parquet on all cores, against the bound; and what is left of a killed one.

    python benchmarks/extraction.py [--pictures 10000] [--resume-pictures 2000] [--model FOLDER] [--json]

The bound: if nothing waited, n cores would embed n / (decode + model) pictures a second, where `decode` (file
to preprocessed array) and `model` are the seconds of one thread that each picture takes, measured here before
and after the extraction, alone on the machine. `share_of_bound` is the rate of `lookalike embed` over it; its
time is that of the whole command, with its start, its search for files, and the writing. `cpu_seconds` far
below seconds x cores say that the command waited or that others had the cores, which `load` tells.

Then an extraction of fewer pictures is killed with SIGKILL when half of its shards are there, and the same
command is given again: `recomputed` counts finished shards whose time of change or bytes differ then,
`duplicates` paths that are there twice, `missing` paths that are not, and `differ` vectors that differ from
those of an extraction that was not killed. Under two processes (`RANK` 0 and 1) the files must be the same
byte for byte.

Pictures: crops of 400x400 of the photos in ../shared/data/grocery, or smooth noise where these are not there,
as JPEG of quality 90. Model: PPLCNetV2_base_ShiTu with BNNeck, 512 numbers, with random weights, or --model.
Needs lookalike[parquet], and [train] for the random model. Cores: --cores, by default all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lookalike.images.feature_files import read_features

PHOTOS = Path("../shared/data/grocery/images")
SIDE, QUALITY = 400, 90
PER_FOLDER = 1000
SAMPLE = 256
BATCH = 16


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(options.work or temporary)
        pictures = work / "pictures"
        draw(pictures, max(options.pictures, options.resume_pictures))
        model = Path(options.model or work / "model")
        if not model.exists():
            text = "import latency, sys; latency.export_random(sys.argv[1])"
            subprocess.run([sys.executable, "-c", text, model], cwd=Path(__file__).parent, check=True)
        told: dict[str, Any] = {"pictures": options.pictures, "cores": options.cores}
        if options.pictures:
            told |= throughput(model, pictures, work / "all.parquet", options)
        if options.resume_pictures:
            told |= resumed(model, pictures, work, options)
    print(json.dumps(told) if options.json else _text(told))


def throughput(model: Path, pictures: Path, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The rate of the command beside the bound."""
    before = one_thread(model, pictures)
    started, used = time.perf_counter(), _cpu_of_children()
    answer = json.loads(
        _finished(embed(model, folders(pictures, options.pictures), out, options, options.shard_size))
    )
    seconds, used = time.perf_counter() - started, _cpu_of_children() - used
    after = one_thread(model, pictures)
    decode, compute = (float(np.mean(pair)) for pair in zip(before, after, strict=True))
    assert answer["pictures"] == options.pictures, answer
    rate, bound = options.pictures / seconds, options.cores / (decode + compute)
    return {
        "seconds": seconds,
        "cpu_seconds": used,
        "load": os.getloadavg()[0],
        "decode_ms": 1000 * decode,
        "model_ms": 1000 * compute,
        "one_thread_before_ms": [1000 * each for each in before],
        "one_thread_after_ms": [1000 * each for each in after],
        "pictures_per_second": rate,
        "bound": bound,
        "share_of_bound": rate / bound,
    }


def one_thread(model: Path, pictures: Path) -> tuple[float, float]:
    """Seconds that one thread takes to decode a picture, and to compute it, in a process of its own."""
    script = [sys.executable, __file__, "--measure-one-thread", str(model), str(pictures)]
    decode, compute = json.loads(_finished(subprocess.Popen(script, stdout=subprocess.PIPE, env=_single())))
    return decode, compute


def measure_one_thread(model: Path, pictures: Path) -> tuple[float, float]:
    from lookalike import Embedder

    cv2.setNumThreads(1)
    embedder = Embedder(model, backend="onnx", threads=1)
    files = sorted(str(path) for path in pictures.rglob("*.jpg"))
    sample = files[:: max(len(files) // SAMPLE, 1)][:SAMPLE]
    batches = [sample[start : start + BATCH] for start in range(0, len(sample), BATCH)]
    embedder.encode(batches[0], workers=1)
    decode = compute = 0.0
    for batch in batches:
        started = time.perf_counter()
        arrays = np.stack([embedder.preprocess(path) for path in batch])
        read = time.perf_counter()
        embedder.runtime(arrays)
        decode, compute = decode + read - started, compute + time.perf_counter() - read
    return decode / len(sample), compute / len(sample)


def resumed(model: Path, pictures: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a killed extraction leaves, and what the same command makes of it."""
    count = options.resume_pictures
    sources = folders(pictures, count)
    size = max(count // 10, 1)
    whole, killed, shared = (work / f"{name}.parquet" for name in ("whole", "killed", "shared"))
    _finished(embed(model, sources, whole, options, size))
    process = embed(model, sources, killed, options, size)
    while len(list(killed.glob("part-*"))) < 5:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = contents(killed)
    answer = json.loads(_finished(embed(model, sources, killed, options, size)))
    now = contents(killed)
    wanted, found = read_features(whole), read_features(killed)
    assert wanted.paths is not None
    assert found.paths is not None
    ranks = [
        embed(model, sources, shared, options, size, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
        for rank in (0, 1)
    ]
    for process in ranks:
        _finished(process)
    bytes_of = {name: data for name, (_, data) in contents(shared).items()}
    return {
        "resume_pictures": len(wanted),
        "shards": answer["shards"],
        "finished_when_killed": len(kept),
        "reused": answer["reused"],
        "recomputed": sum(now[name] != kept[name] for name in kept),
        "duplicates": len(found.paths) - len(set(found.paths)),
        "missing": len(set(wanted.paths) - set(found.paths)),
        "differ": int((found.vectors != wanted.vectors).any(axis=1).sum()),
        "two_processes_same_bytes": bytes_of == {name: data for name, (_, data) in contents(whole).items()},
    }


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and bytes of each shard."""
    return {each.name: (each.stat().st_mtime_ns, each.read_bytes()) for each in folder.glob("part-*")}


def embed(
    model: Path, sources: list[Path], out: Path, options: argparse.Namespace, shard_size: int, **rank: str
) -> subprocess.Popen[bytes]:
    """`lookalike embed`, begun; of several processes each has its share of the cores."""
    workers = max(options.cores // int(rank.get("WORLD_SIZE", 1)), 1)
    words = ["embed", model, *sources, "--out", out, "--shard-size", shard_size, "--batch-size", BATCH]
    command = [sys.executable, "-m", "lookalike", *words, "--workers", workers, "--json"]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **rank},
    )


def folders(pictures: Path, count: int) -> list[Path]:
    """Those that hold the first `count` pictures, which is a multiple of what one holds."""
    return [pictures / f"{number:02d}" for number in range(count // PER_FOLDER)]


def draw(folder: Path, count: int) -> None:
    """Write `count` JPEG files, 1,000 to a folder; those that are there stay."""
    photos = [cv2.imread(str(path)) for path in sorted(PHOTOS.rglob("*.jpg"))[:200]]

    def write(number: int) -> None:
        file = folder / f"{number // PER_FOLDER:02d}" / f"{number:05d}.jpg"
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(number)
        picture = _crop(photos, generator) if photos else _noise(generator)
        cv2.imwrite(str(file), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(count)):
            pass


def _crop(photos: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    photo = photos[generator.integers(len(photos))]
    side = int(min(photo.shape[:2]) * generator.uniform(0.6, 1.0))
    top, left = (int(generator.integers(length - side + 1)) for length in photo.shape[:2])
    return cv2.resize(photo[top : top + side, left : left + side], (SIDE, SIDE))


def _noise(generator: np.random.Generator) -> np.ndarray:
    """Noise of all sizes, as photos have it: the coarser the stronger."""
    picture = np.full((SIDE, SIDE, 3), 128.0, np.float32)
    for size, strength in ((4, 60), (16, 30), (64, 12), (SIDE, 4)):
        noise = generator.normal(0, strength, (size, size, 3)).astype(np.float32)
        picture += cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.uint8)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _single() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _finished(process: subprocess.Popen[bytes]) -> bytes:
    """What a process printed. Raises where it failed."""
    told, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, process.args))} failed with {process.returncode}")  # type: ignore[arg-type]
    return told


def _text(told: dict[str, Any]) -> str:
    return "\n".join(_lines(told))


def _lines(told: dict[str, Any]) -> Iterator[str]:
    for name, value in told.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        yield f"{name:26} {shown}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--resume-pictures", type=int, default=2_000)
    parser.add_argument("--shard-size", type=int, default=2_000)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--model", help="model folder (default: one with random weights)")
    parser.add_argument("--work", help="folder to keep pictures and results in (default: a temporary one)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure-one-thread", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pictures % PER_FOLDER or options.resume_pictures % PER_FOLDER:
        parser.error(f"numbers of pictures must be multiples of {PER_FOLDER}")
    if options.measure_one_thread:
        model, pictures = options.measure_one_thread
        print(json.dumps(measure_one_thread(Path(model), Path(pictures))))
        raise SystemExit
    return options


if __name__ == "__main__":
    main()
