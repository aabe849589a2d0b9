"""What people would pick for the same work, for `nexis bench gpu`: torchcodec or PyAV, and transformers' CLIP.

    python peer.py models FOLDER TOKENIZER     CLIP directories of random weights; TOKENIZER is a folder with tokenizer.json
    python peer.py measure DEVICE FOLDER CLIPS SECONDS FRAMES BATCH    one line of JSON

What cannot be measured is null, with the reason beside it.
"""

import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

EDGE, TILES = 224, 3
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# Vision: width, inner width, heads, layers, patch; text: width, inner width, heads, layers; length of an embedding.
SHAPES = {
    "ViT-B-32": ((768, 3072, 12, 12, 32), (512, 2048, 8, 12), 512),
    "ViT-B-16": ((768, 3072, 12, 12, 16), (512, 2048, 8, 12), 512),
    "ViT-L-14": ((1024, 4096, 16, 24, 14), (768, 3072, 12, 12), 768),
}


def make_models(folder, tokenizer):
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    end = next(
        token["id"]
        for token in json.loads((tokenizer / "tokenizer.json").read_text())["added_tokens"]
        if token["content"] == "<|endoftext|>"
    )
    names = ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"]
    for name, (vision, text, projection) in SHAPES.items():
        torch.manual_seed(0)
        config = CLIPConfig(
            vision_config=dict(zip(names + ["patch_size"], vision)) | {"image_size": EDGE},
            text_config=dict(zip(names, text)) | {"eos_token_id": end},
            projection_dim=projection,
        )
        out = folder / name
        # 16 bits: both sides read the same numbers.
        CLIPModel(config).to(torch.float16).save_pretrained(out)
        CLIPImageProcessor().save_pretrained(out)
        shutil.copy(tokenizer / "tokenizer.json", out)


def attempt(work):
    try:
        return work(), None
    except Exception as error:  # Whatever is missing here must not hide what the others measure.
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:300]


def rate(work, count, seconds, synchronise):
    work()
    work()
    synchronise()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        work()
        synchronise()
        done += count
    return done / (time.perf_counter() - start)


def vision_tower(directory, device):
    import torch
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(directory, dtype=torch.bfloat16).to(device).eval()


def forward(model, crops, device):
    """From bytes on the host to embeddings on the host, as ours."""
    import torch

    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1)

    def run():
        with torch.inference_mode():
            values = crops.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            out = model(((values - mean) / std).to(torch.bfloat16))
            return out.float().cpu()

    return run


def encoders(folder, device, seconds, batch, synchronise):
    import torch

    results = {}
    for name in SHAPES:
        model, why = attempt(lambda: vision_tower(folder / name, device))
        crops = torch.randint(0, 256, (batch, EDGE, EDGE, 3), dtype=torch.uint8)
        if device.startswith("cuda"):
            crops = crops.pin_memory()

        def embed(values):
            return model.visual_projection(model.vision_model(values).pooler_output)

        def measured(kind):
            function = embed if kind == "eager" else torch.compile(embed, mode="reduce-overhead")
            return rate(forward(function, crops, device), batch, seconds, synchronise)

        for kind in ("eager", "compiled"):
            found, error = attempt(lambda: measured(kind)) if model else (None, why)
            results[f"{name} {kind} bf16"] = {"pictures_per_second": found, "error": error}
    return results


def torchcodec_frames(clip, times, device):
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(str(clip), device=device).get_frames_played_at(times).data


def pyav_frames(clip, times):
    import av
    import numpy

    frames, at = [], 0
    with av.open(str(clip)) as container:
        held = None
        for frame in container.decode(video=0):
            while at < len(times) and held is not None and frame.time > times[at]:
                frames.append(held.to_ndarray(format="rgb24"))
                at += 1
            held = frame
            if at == len(times):
                break
        frames += [held.to_ndarray(format="rgb24")] * (len(times) - at)
    return numpy.stack(frames)


def decoders(clips, times, device, seconds, synchronise):
    results = {}
    works = {"torchcodec cpu": lambda clip: torchcodec_frames(clip, times, "cpu"), "pyav": lambda clip: pyav_frames(clip, times)}
    if device.startswith("cuda"):
        works["torchcodec cuda"] = lambda clip: torchcodec_frames(clip, times, device)
    for name, work in works.items():
        for threads in sorted({1, 4, min(8, os.cpu_count()), os.cpu_count()}):
            if threads > os.cpu_count():
                continue

            def measured():
                with ThreadPoolExecutor(threads) as pool:
                    return rate(lambda: list(pool.map(work, clips)), len(clips), seconds, synchronise)

            found, error = attempt(measured)
            results[f"{name}, {threads} threads"] = {"clips_per_second": found, "error": error}
    return results


def end_to_end(folder, clips, times, device, seconds, synchronise):
    """Clips to embeddings of three tiles a frame with ViT-B/32: decoded on the device where it can be, resized there."""
    import torch
    from torch.nn.functional import interpolate

    model = vision_tower(folder / "ViT-B-32", device)
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1)
    threads = min(8, os.cpu_count())

    def one(clip):
        frames = torchcodec_frames(clip, times, device)
        height, width = frames.shape[-2:]
        wide = EDGE * width // height
        with torch.inference_mode():
            small = interpolate(frames.float(), (EDGE, wide), mode="bicubic", antialias=True).round().clamp(0, 255)
            tiles = [small[..., (wide - EDGE) * i // (TILES - 1) :][..., :EDGE] for i in range(TILES)]
            values = (torch.cat(tiles) / 255 - mean) / std
            return model.visual_projection(model.vision_model(values.to(torch.bfloat16)).pooler_output).float().cpu()

    with ThreadPoolExecutor(threads) as pool:
        return rate(lambda: list(pool.map(one, clips)), len(clips), seconds, synchronise)


def measure(device, folder, clips, seconds, frames, batch):
    import torch

    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    clips = sorted(clips.glob("*.mp4"))
    times = [(k + 0.5) * 5.0 / frames for k in range(frames)]
    found, error = attempt(lambda: end_to_end(folder, clips, times, device, seconds, synchronise))
    versions = {}
    for package in ("torch", "transformers", "torchcodec", "av"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    print(
        json.dumps(
            {
                "versions": versions,
                "decode": decoders(clips, times, device, seconds, synchronise),
                "encode": encoders(folder, device, seconds, batch, synchronise),
                "end_to_end": {"torchcodec and transformers": {"clips_per_second": found, "error": error}},
            }
        )
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["models", folder, tokenizer]:
            make_models(Path(folder), Path(tokenizer))
        case ["measure", device, folder, clips, seconds, frames, batch]:
            measure(device, Path(folder), Path(clips), float(seconds), int(frames), int(batch))
        case _:
            sys.exit(__doc__)
