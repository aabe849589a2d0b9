"""What people would pick instead. Each line on standard input, a list in JSON, is a step or a measurement, and is answered
by a line of JSON; what was loaded once stays loaded.

versions
export DIR FILE                       DIR's vision tower as ONNX
embed ENGINE DIR ONNX PICTURES        embeddings of pictures of 224x224
encode ENGINE DIR ONNX PICTURES SECONDS THREADS
planes CLIP TIMES                     frames by PyAV, colours by the formula of nexis-core/src/media/yuv.rs
frames DECODER CLIP TIMES FILE        RGB bytes as the decoder gives them
decode DECODER CLIP TIMES SECONDS THREADS CLIPS
squares DIR CLIP TIMES                embeddings of the frames' centre squares
judge PRECISION DIR CLIP TIMES SECONDS CLIPS THREADS
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np

EDGE = 224
# A frame is the one that is shown at its time; half a millisecond hides how a container rounds.
SLACK = 5e-4


def pictures(path):
    return np.fromfile(path, np.uint8).reshape(-1, EDGE, EDGE, 3)


def pixel_values(images):
    """CLIP's normalisation with the constants of the model's folder, which has none of its own."""
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
    values = (images.astype(np.float64) * (1 / 255)).astype(np.float32)
    return np.ascontiguousarray(((values - mean) / std).transpose(0, 3, 1, 2))


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measure(work, seconds, count=1):
    work()
    each, start = [], time.perf_counter()
    while not each or time.perf_counter() - start < seconds:
        at = time.perf_counter()
        work()
        each.append((time.perf_counter() - at) / count)
    return each


def side_by_side(work, seconds, clips):
    if clips == 1:
        return measure(work, seconds)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return measure(lambda: list(pool.map(lambda _: work(), range(clips))), seconds, clips)


# Encoders.


def clip_model(directory, dtype="float32"):
    import torch
    from transformers import CLIPConfig, CLIPVisionModelWithProjection

    whole = CLIPConfig.from_pretrained(directory)
    config = whole.vision_config
    config.projection_dim = whole.projection_dim
    model = CLIPVisionModelWithProjection.from_pretrained(directory, config=config, dtype=getattr(torch, dtype))
    return model.eval()


def torch_engine(directory, dtype):
    import torch

    model = clip_model(directory, dtype)

    def encode(values):
        with torch.inference_mode():
            out = model(pixel_values=torch.from_numpy(values).to(model.dtype)).image_embeds
            return out.float().numpy()

    return encode


def onnx_engine(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda values: session.run(["image_embeds"], {"pixel_values": values})[0]


@functools.cache
def engine(name, directory, onnx, threads):
    if name == "onnx":
        return onnx_engine(onnx, threads)
    import torch

    torch.set_num_threads(threads)
    return torch_engine(directory, {"torch": "float32", "torch-bf16": "bfloat16"}[name])


def export(directory, path):
    import torch

    model = clip_model(directory)

    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            return self.model(pixel_values=pixel_values).image_embeds

    batch = torch.export.Dim("batch", min=1, max=1024)
    torch.onnx.export(
        Tower(),
        (torch.zeros(2, 3, EDGE, EDGE),),
        path,
        input_names=["pixel_values"],
        output_names=["image_embeds"],
        dynamic_shapes={"pixel_values": {0: batch}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return {"onnx": path}


def encode(name, directory, onnx, file, seconds, threads):
    values = pixel_values(pictures(file))
    run = engine(name, directory, onnx, threads)
    each = measure(lambda: run(values), seconds)
    return {"images_per_s": [len(values) / float(np.mean(each))], "threads": threads, "batch": len(values)}


# Decoders. All give the frames that are shown at the given times.


def with_ffmpeg(clip, times, threads):
    """As validators of the network do it: a process, JPEG files, and Pillow; all frames in one process."""
    from PIL import Image

    chosen = "+".join(f"between(t,{t - SLACK},{t + SLACK})" for t in times)
    with tempfile.TemporaryDirectory() as folder:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", str(threads), "-i", clip]
        command += ["-vf", f"select='{chosen}'", "-vsync", "0", "-q:v", "2", f"{folder}/%d.jpg"]
        subprocess.run(command, check=True)
        return [np.asarray(Image.open(f"{folder}/{i + 1}.jpg").convert("RGB")) for i in range(len(times))]


def with_pyav(clip, times, threads, convert=lambda frame: frame.to_ndarray(format="rgb24")):
    import av

    frames = []
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "FRAME" if threads > 1 else "NONE"
        start = None
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            if abs(frame.time - start - times[len(frames)]) < SLACK:
                frames.append(convert(frame))
                if len(frames) == len(times):
                    return frames
    raise ValueError(f"{len(frames)} of {len(times)} frames were found")


def torchcodec_batch(clip, times, threads):
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(clip, num_ffmpeg_threads=threads, dimension_order="NHWC")
    batch = decoder.get_frames_played_at([t + SLACK + decoder.metadata.begin_stream_seconds for t in times])
    found = batch.pts_seconds.numpy() - decoder.metadata.begin_stream_seconds
    if np.abs(found - np.array(times)).max() > SLACK:
        raise ValueError(f"frames at {found} instead of {times}")
    return batch.data


def with_torchcodec(clip, times, threads):
    return list(torchcodec_batch(clip, times, threads).numpy())


DECODERS = {"ffmpeg": with_ffmpeg, "pyav": with_pyav, "torchcodec": with_torchcodec}


def rgb_by_formula(frame):
    """8-bit 4:2:0 in BT.709, limited range, in integers, chroma replicated (nexis-core/src/media/yuv.rs)."""
    if frame.format.name != "yuv420p":
        raise ValueError(f"the formula here is for yuv420p, not {frame.format.name}")
    height, width = frame.height, frame.width
    planes = frame.to_ndarray(format="yuv420p").astype(np.int64)
    luma = planes[:height]
    chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, 1).repeat(2, 2) - 128
    u, v = chroma
    kr, kb, one, half = 0.2126, 0.0722, 1 << 16, 1 << 15
    crv, cbu = 2 * (1 - kr) * 255 / 224 * one, 2 * (1 - kb) * 255 / 224 * one
    cgu, cgv = cbu * kb / (1 - kr - kb), crv * kr / (1 - kr - kb)
    cy, crv, cbu, cgu, cgv = (int(c + 0.5) for c in (255 / 219 * one, crv, cbu, cgu, cgv))
    y = cy * (luma - 16) + half
    rgb = np.stack([y + crv * v, y - cgu * u - cgv * v, y + cbu * u], 2) >> 16
    return rgb.clip(0, 255).astype(np.uint8)


def decode(name, clip, times, seconds, threads, clips):
    return {"seconds_per_clip": side_by_side(lambda: DECODERS[name](clip, times, threads), seconds, clips)}


# From a clip to embeddings.


@functools.cache
def judge_engine(precision, directory):
    import torch
    from transformers import CLIPImageProcessor

    torch.set_num_threads(os.cpu_count())
    model = clip_model(directory, {"f32": "float32", "bf16": "bfloat16"}[precision])
    processor = CLIPImageProcessor.from_pretrained(directory)

    def run(clip, times, threads):
        frames = torchcodec_batch(clip, times, threads).permute(0, 3, 1, 2)
        values = processor(list(frames), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return model(pixel_values=values.to(model.dtype)).image_embeds.float().numpy()

    return run, type(processor).__name__


def judge(precision, directory, clip, times, seconds, clips, threads):
    run, _ = judge_engine(precision, directory)
    return {"seconds_per_clip": side_by_side(lambda: run(clip, times, threads), seconds, clips)}


def versions():
    import onnxruntime
    import torch
    import torchcodec

    names = ["torch", "torchvision", "torchcodec", "onnxruntime", "transformers", "av", "pillow", "numpy"]
    ffmpeg = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return {
        **{name: version(name) for name in names},
        "ffmpeg": ffmpeg.split()[2],
        "torch CPU capability": torch.backends.cpu.get_cpu_capability(),
        "torchcodec's FFmpeg": str(torchcodec.ffmpeg_major_version),
        "onnxruntime providers": onnxruntime.get_available_providers(),
        "cpus": os.cpu_count(),
    }


def answer(request):
    match request:
        case ["versions"]:
            return versions()
        case ["export", directory, path]:
            return export(directory, path)
        case ["embed", name, directory, onnx, file]:
            run = engine(name, directory, onnx, os.cpu_count())
            return {"embeddings": unit(run(pixel_values(pictures(file)))).tolist()}
        case ["encode", *rest]:
            return encode(*rest)
        case ["planes", clip, times]:
            return {"sha256": [hashlib.sha256(f.tobytes()).hexdigest() for f in with_pyav(clip, times, 1, rgb_by_formula)]}
        case ["frames", name, clip, times, file]:
            np.stack(DECODERS[name](clip, times, 1)).tofile(file)
            return {"frames": file}
        case ["decode", *rest]:
            return decode(*rest)
        case ["squares", directory, clip, times]:
            run, processor = judge_engine("f32", directory)
            return {"embeddings": unit(run(clip, times, 1)).tolist(), "processor": processor}
        case ["judge", *rest]:
            return judge(*rest)
    raise ValueError(f"{request} is not among what is listed at the top of this file")


if __name__ == "__main__":
    # Libraries print as they like; answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
