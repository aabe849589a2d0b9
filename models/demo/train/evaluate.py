"""Measures an exported model through transformers, on exports whose seeds and caption templates training never saw.

A clip is the mean of the similarities of its frames and of the three tiles of each frame. Raw similarities only:
the verifier's calibration uses more features and does better.
"""

import argparse
import json
import os
import random

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, CLIPModel

from data import CATEGORIES, blur, caption_bar, compress, grey, open_frames, read_scenes, tiles

HERE = os.path.dirname(os.path.abspath(__file__))


def equal_error(positive, negative):
    """The rate at which misses and false alarms are equally frequent over one common threshold."""
    positive, negative = np.sort(positive), np.sort(negative)
    thresholds = np.concatenate([positive, negative[-min(len(negative), 200000) :]])
    misses = np.searchsorted(positive, thresholds, "left") / len(positive)
    alarms = 1 - np.searchsorted(negative, thresholds, "left") / len(negative)
    best = np.argmin(np.abs(misses - alarms))
    return (misses[best] + alarms[best]) / 2


class Model:
    def __init__(self, folder, bf16):
        self.net = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.bf16 = bf16

    @torch.no_grad()
    def text(self, texts, batch=256):
        unique = sorted(set(texts), key=len)
        rows = []
        for i in range(0, len(unique), batch):
            inputs = self.tokenizer(unique[i : i + batch], padding=True, truncation=True, max_length=77, return_tensors="pt")
            pooled = self.net.text_model(input_ids=inputs["input_ids"]).pooler_output
            rows.append(F.normalize(self.net.text_projection(pooled), dim=-1))
        table = dict(zip(unique, torch.cat(rows).numpy()))
        return np.stack([table[t] for t in texts])

    @torch.no_grad()
    def images(self, pixels, batch=96):
        rows = []
        for i in range(0, len(pixels), batch):
            x = torch.from_numpy(np.stack(pixels[i : i + batch])).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                pooled = self.net.visual_projection(self.net.vision_model(pixel_values=x).pooler_output)
            rows.append(F.normalize(pooled.float(), dim=-1))
        return torch.cat(rows).numpy()

    def clips(self, frames, chosen, count, change=lambda image, rng: image):
        """[clips, frames, 3, width]; `change` spoils each frame before the tiles are cut."""
        rng = random.Random(5)
        out = []
        for block in range(0, len(chosen), 32):
            pixels = []
            for i in chosen[block : block + 32]:
                for f in np.linspace(0, frames.shape[1] - 1, count).round().astype(int):
                    pixels += tiles(np.ascontiguousarray(change(np.array(frames[i, f]), rng)))
            out.append(self.images(pixels))
        return np.concatenate(out).reshape(len(chosen), count, 3, -1)


def prompt_means(model, prompts):
    rows = [model.text(prompts[c]).mean(0) for c in CATEGORIES]
    return np.stack([r / np.linalg.norm(r) for r in rows])


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def fit_temperature(similarities, labels):
    """The scale under which the frames' seven-way probabilities have the lowest log loss."""
    scales = np.geomspace(2, 200, 60)
    rows = np.arange(len(labels))
    return min(scales, key=lambda s: -np.log(softmax(s * similarities)[rows, labels] + 1e-12).mean())


def nature_rule(probabilities, wins=2, least=0.72, margin=0.12):
    """[clips, frames, 7] -> accepted. Three frames: nature first in two, its mean high and well before the best rival."""
    mean = probabilities.mean(1)
    return (
        ((probabilities.argmax(-1) == 0).sum(1) >= wins)
        & (mean[:, 0] >= least)
        & (mean[:, 0] - mean[:, 1:].max(-1) >= margin)
    )


def pair_scores(model, scenes, images, labels, seed=3):
    """Scores of true pairs, of captions of another category and of another scene of the same category."""
    clip = images.mean((1, 2))
    other_rng = random.Random(seed)
    captions = [other_rng.choice(s["heldout"]) for s in scenes]
    scores = clip @ model.text(captions).T
    same = np.array([[a == b for b in captions] for a in captions])
    alike = labels[:, None] == labels[None]
    return np.diag(scores), scores[~alike], scores[alike & ~same]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="test export")
    parser.add_argument("--fit", required=True, help="validation export, other seeds: fits the prompts' temperature")
    parser.add_argument("--model", default=os.path.join(HERE, ".."))
    parser.add_argument("--clips", type=int, default=1400)
    parser.add_argument("--spoiled-clips", type=int, default=700, help="clips in the spoiled rows")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="faster and a little less exact")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="also write the numbers here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model = Model(args.model, args.bf16)
    with open(os.path.join(args.model, "prompts.json")) as file:
        means = prompt_means(model, json.load(file))

    fit_scenes = read_scenes(args.fit, 400)
    fit_images = model.clips(open_frames(args.fit), range(len(fit_scenes)), 1)
    fit_labels = np.array([CATEGORIES.index(s["category"]) for s in fit_scenes])
    scale = fit_temperature((fit_images @ means.T).mean(2)[:, 0], fit_labels)

    scenes, frames = read_scenes(args.data, args.clips), open_frames(args.data)
    labels = np.array([CATEGORIES.index(s["category"]) for s in scenes])
    everything = range(len(scenes))
    images = model.clips(frames, everything, args.frames)
    clip = images.mean((1, 2))
    numbers = {"clips": len(scenes), "frames": args.frames, "scale": scale}

    true, other, same = pair_scores(model, scenes, images, labels)
    numbers["eer_other_category"] = 100 * equal_error(true, other)
    numbers["eer_same_category"] = 100 * equal_error(true, same)

    for field in ("heldout_swaps", "swaps"):
        right = {}
        rows = [(i, s) for i, scene in enumerate(scenes) for s in scene[field]]
        if field == "swaps":  # the training templates, for comparison: a part is enough
            rows = random.Random(1).sample(rows, min(len(rows), 4000))
        t = model.text([s["true"] for _, s in rows])
        f = model.text([s["false"] for _, s in rows])
        for (i, swap), a, b in zip(rows, t, f):
            right.setdefault(swap["attribute"], []).append(float(clip[i] @ a > clip[i] @ b))
        for name, values in sorted(right.items()):
            numbers[f"{field}_{name}"] = 100 * float(np.mean(values))

    def category_numbers(images, labels, prefix):
        similarities = (images @ means.T).mean(2)
        numbers[prefix + "category_frame"] = 100 * float((similarities.argmax(-1) == labels[:, None]).mean())
        take = np.linspace(0, images.shape[1] - 1, 3).round().astype(int)
        accepted = nature_rule(softmax(scale * similarities[:, take]))
        numbers[prefix + "nature_true"] = 100 * float(accepted[labels == 0].mean())
        numbers[prefix + "nature_false"] = 100 * float(accepted[labels != 0].mean())

    category_numbers(images, labels, "")
    wrong = (images @ means.T).mean(2).argmax(-1)
    confusion = np.zeros((7, 7), int)
    np.add.at(confusion, (np.repeat(labels, args.frames), wrong.ravel()), 1)

    part = range(min(args.spoiled_clips, len(scenes)))
    changes = {
        "compressed": lambda image, rng: compress(blur(image, 1.2), 12),
        "grey": lambda image, rng: grey(image),
        "bar": lambda image, rng: caption_bar(image, rng, top=image.shape[0] * 3 // 4),
    }
    for name, change in changes.items():
        spoiled = model.clips(frames, part, 3, change)
        true, other, same = pair_scores(model, [scenes[i] for i in part], spoiled, labels[: len(part)])
        numbers[f"{name}_eer_other_category"] = 100 * equal_error(true, other)
        numbers[f"{name}_eer_same_category"] = 100 * equal_error(true, same)
        category_numbers(spoiled, labels[: len(part)], f"{name}_")

    n = numbers

    def swap(name):
        return f"{n.get('heldout_swaps_' + name, float('nan')):.1f}"

    print(f"{n['clips']} clips of {n['frames']} frames and 3 tiles, prompt scale {scale:.1f}\n")
    print("| measure | floor | goal | measured |\n| --- | --- | --- | --- |")
    for row in (
        ("true caption vs a caption of another category: EER", "1 %", "0.3 %", f"{n['eer_other_category']:.2f} %"),
        ("true caption vs another scene of the same category: EER", "3 %", "1.5 %", f"{n['eer_same_category']:.2f} %"),
        ("one attribute swapped: colour / object / count / weather right", "97/85/70/94 %", "99/93/85/97 %",
         f"{swap('colour')}/{swap('object')}/{swap('count')}/{swap('weather')} %"),
        ("swapped light / setting / negation / camera right", "", "", f"{swap('light')}/{swap('setting')}/{swap('negation')}/{swap('camera')} %"),
        ("7-way category, one frame", "96 %", "98 %", f"{n['category_frame']:.1f} %"),
        ("nature rule: true / false accepts", "90/0.5 %", "97/0.2 %", f"{n['nature_true']:.1f}/{n['nature_false']:.2f} %"),
        ("compressed and blurred: EER (other / same category)", "1 %", "0.5 %",
         f"{n['compressed_eer_other_category']:.2f}/{n['compressed_eer_same_category']:.2f} %"),
        ("grey: EER (other / same category)", "", "4 %", f"{n['grey_eer_other_category']:.2f}/{n['grey_eer_same_category']:.2f} %"),
        ("caption bar over the lower quarter: nature true / false accepts", "", "75 %",
         f"{n['bar_nature_true']:.1f}/{n['bar_nature_false']:.2f} %"),
    ):
        print("| " + " | ".join(row) + " |")
    print("\nTraining templates, swapped attribute right:", {k[6:]: round(v, 1) for k, v in n.items() if k.startswith("swaps_")})
    print("Confusion (rows true; columns " + " ".join(CATEGORIES) + "):")
    for name, row in zip(CATEGORIES, confusion):
        print(f"  {name:8}", *(f"{x:5}" for x in row))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({k: float(v) for k, v in numbers.items()}, file, indent=2)


if __name__ == "__main__":
    main()
