"""What people would pick for the same work, for `nexis bench gpu`: torchcodec or PyAV, and transformers' CLIP and SigLIP.

    python peer.py models FOLDER TOKENIZER     directories of random weights, and their names as a line of JSON, the one that is
                                               measured from end to end first; TOKENIZER is a folder with a CLIP's tokenizer.json
    python peer.py measure DEVICE FOLDER CLIPS SECONDS FRAMES BATCH LIMIT    one line of JSON, in LIMIT seconds or a little more

What cannot be measured is null, with the reason beside it.
"""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TILES = 3
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# Vision: width, inner width, heads, layers, patch; text: width, inner width, heads, layers; length of an embedding.
CLIPS = {
    "ViT-B-32": ((768, 3072, 12, 12, 32), (512, 2048, 8, 12), 512),
    "ViT-B-16": ((768, 3072, 12, 12, 16), (512, 2048, 8, 12), 512),
    "ViT-L-14": ((1024, 4096, 16, 24, 14), (768, 3072, 12, 12), 768),
}
# Without the length, and with the edge of a picture. Only pictures are measured, so that the largest has one layer for texts.
SIGLIPS = {
    "SigLIP-B-16": ((768, 3072, 12, 12, 16), (768, 3072, 12, 12), 224),
    "SigLIP-SO400M-14-384": ((1152, 4304, 16, 27, 14), (1152, 4304, 16, 1), 384),
}
NAMES = ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"]


def edge(name):
    return SIGLIPS[name][2] if name in SIGLIPS else 224


def write_model(model, tokenizer, preprocessor, out):
    import torch

    # 16 bits: both sides read the same numbers.
    model.to(torch.float16).save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    (out / "tokenizer.json").write_text(tokenizer)


def siglip_tokenizer():
    """Letters, in the shape of SigLIP's file: texts are not measured."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["</s>", "<unk>"])
    return tokenizer.to_str()


def make_models(folder, tokenizer):
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    clip_tokenizer = (tokenizer / "tokenizer.json").read_text()
    added = json.loads(clip_tokenizer)["added_tokens"]
    end = next(token["id"] for token in added if token["content"] == "<|endoftext|>")
    for name, (vision, text, projection) in CLIPS.items():
        torch.manual_seed(0)
        config = CLIPConfig(
            vision_config=dict(zip(NAMES + ["patch_size"], vision)) | {"image_size": edge(name)},
            text_config=dict(zip(NAMES, text)) | {"eos_token_id": end},
            projection_dim=projection,
        )
        preprocessor = {"size": edge(name), "crop_size": edge(name), "image_mean": MEAN, "image_std": STD}
        write_model(CLIPModel(config), clip_tokenizer, preprocessor, folder / name)
    for name, (vision, text, size) in SIGLIPS.items():
        torch.manual_seed(0)
        config = SiglipConfig(
            vision_config=dict(zip(NAMES + ["patch_size"], vision)) | {"image_size": size},
            text_config=dict(zip(NAMES, text)) | {"projection_size": vision[0]},
        )
        preprocessor = {"size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        write_model(SiglipModel(config), siglip_tokenizer(), preprocessor, folder / name)
    print(json.dumps([*CLIPS, *SIGLIPS]))


class Limit:
    """An end to all attempts: the one that is under way then breaks off, and those that come after it do not begin."""

    def __init__(self, seconds):
        self.seconds, self.over, self.trying = seconds, False, False
        signal.signal(signal.SIGALRM, self.stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def why(self):
        return f"not measured within {self.seconds:g} s"

    def stop(self, *_):
        self.over = True
        if self.trying:
            raise TimeoutError(self.why())

    def attempt(self, work):
        try:
            return self.tried(work)
        except TimeoutError:  # The alarm came while an attempt was ending, beyond what catches its errors.
            return None, self.why()

    def tried(self, work):
        self.trying = True
        try:
            if self.over:
                self.stop()
            return work(), None
        except Exception as error:  # Whatever is missing here must not hide what the others measure.
            # A compiler that is broken off says so in words of its own.
            why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            return None, self.why() if self.over else why
        finally:
            self.trying = False


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


def load(directory, device):
    import torch
    from transformers import CLIPModel, SiglipModel

    kind = SiglipModel if directory.name in SIGLIPS else CLIPModel
    return kind.from_pretrained(directory, dtype=torch.bfloat16).to(device).eval()


def forward(model, crops, device, levels):
    """From bytes on the host to embeddings on the host, as ours."""
    import torch

    mean, std = (torch.tensor(numbers, device=device).view(1, 3, 1, 1) for numbers in levels)

    def run():
        with torch.inference_mode():
            values = crops.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
            out = model(((values - mean) / std).to(torch.bfloat16))
            return out.float().cpu()

    return run


def encoders(folder, device, seconds, batch, synchronise, attempt):
    import torch

    results, models = {}, {}

    def measured(model, name, kind):
        siglip = name in SIGLIPS
        crops = torch.randint(0, 256, (batch, edge(name), edge(name), 3), dtype=torch.uint8)
        if device.startswith("cuda"):
            crops = crops.pin_memory()

        def embed(values):
            pooled = model.vision_model(values).pooler_output
            return pooled if siglip else model.visual_projection(pooled)

        function = embed if kind == "eager" else torch.compile(embed, mode="reduce-overhead")
        levels = ([0.5] * 3, [0.5] * 3) if siglip else (MEAN, STD)
        return rate(forward(function, crops, device, levels), batch, seconds, synchronise)

    # Compiling takes longest: where time is short, it is what is left out, for the last models first.
    for kind in ("eager", "compiled"):
        for name in (*CLIPS, *SIGLIPS):
            if name not in models:
                models[name] = attempt(lambda: load(folder / name, device))
            model, why = models[name]
            found, error = attempt(lambda: measured(model, name, kind)) if model else (None, why)
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


def decoders(clips, times, device, seconds, synchronise, attempt):
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

    model, size = load(folder / "ViT-B-32", device), edge("ViT-B-32")
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1)
    threads = min(8, os.cpu_count())

    def one(clip):
        frames = torchcodec_frames(clip, times, device)
        height, width = frames.shape[-2:]
        wide = size * width // height
        with torch.inference_mode():
            small = interpolate(frames.float(), (size, wide), mode="bicubic", antialias=True).round().clamp(0, 255)
            tiles = [small[..., (wide - size) * i // (TILES - 1) :][..., :size] for i in range(TILES)]
            values = (torch.cat(tiles) / 255 - mean) / std
            return model.visual_projection(model.vision_model(values.to(torch.bfloat16)).pooler_output).float().cpu()

    with ThreadPoolExecutor(threads) as pool:
        return rate(lambda: list(pool.map(one, clips)), len(clips), seconds, synchronise)


def measure(device, folder, clips, seconds, frames, batch, limit):
    attempt = Limit(limit).attempt
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
                "decode": decoders(clips, times, device, seconds, synchronise, attempt),
                "encode": encoders(folder, device, seconds, batch, synchronise, attempt),
                "end_to_end": {"torchcodec and transformers": {"clips_per_second": found, "error": error}},
            }
        )
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["models", folder, tokenizer]:
            make_models(Path(folder), Path(tokenizer))
        case ["measure", device, folder, clips, seconds, frames, batch, limit]:
            measure(device, Path(folder), Path(clips), float(seconds), int(frames), int(batch), float(limit))
        case _:
            sys.exit(__doc__)
