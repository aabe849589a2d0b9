"""Trains the demonstration model on an export of procedural scenes. README.md has the commands.

The length is wall-clock time, not steps: the learning rate follows the share of --minutes that has passed, so the
schedule completes on a slow or busy machine too. A checkpoint is written every few minutes; --resume goes on from
it, the time already spent counted.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from data import CATEGORIES, LABELS, SIZE, Batches, Encoder, Labels
from model import Demo, from_hf, hf_config, to_hf

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="exported training set")
    parser.add_argument("--model", required=True, help="model directory with tokenizer.json; receives the weights")
    parser.add_argument("--checkpoint", default="checkpoint.pt")
    parser.add_argument("--prompts", default=os.path.join(HERE, "prompts.json"))
    parser.add_argument(
        "--init", help="start from these weights, with a new schedule: a checkpoint, or an exported model.safetensors"
    )
    parser.add_argument("--text-only", action="store_true", help="keep the image side as it is; for use with --init")
    parser.add_argument("--mapped", action="store_true", help="read frames where they lie (fast random reads needed)")
    parser.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--swaps", type=int, default=2, help="swapped captions per image")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warmup", type=float, default=0.03, help="share of the time")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay of the matrices")
    parser.add_argument("--average", type=float, default=0.99, help="decay of the averaged weights")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--patch", type=int, default=28)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--text-width", type=int, default=128)
    parser.add_argument("--text-layers", type=int, default=2)
    parser.add_argument("--projection", type=int, default=192)
    parser.add_argument("--save-minutes", type=float, default=4.0)
    return parser.parse_args()


# How often each attribute is drawn among a scene's swapped captions: the harder, the more often.
SWAP_WEIGHTS = {
    "count": 2.5, "colour": 1.2, "object": 1.2, "weather": 1.2, "light": 1.0, "setting": 0.8, "negation": 1.0, "camera": 0.0,
}


ATTRIBUTE_WEIGHTS = {"setting": 0.5, "kind": 1.5, "colour": 0.4, "count": 1.2, "weather": 0.5, "light": 0.2}
NOT_EXPORTED = ("pair_scale", "pair_bias", "heads.weight", "heads.bias")


def losses(model, batch, scale, text_only=False):
    """All losses of a batch; embeddings in f32 from here on."""
    size = len(batch["pixels"])
    with torch.set_grad_enabled(not text_only):
        pooled = model.pooled_image(batch["pixels"])
        image = F.normalize(model.visual_projection(pooled).float(), dim=-1)
    groups, back = batch["texts"]
    texts = F.normalize(torch.cat([model.caption(*group) for group in groups])[back].float(), dim=-1)
    pairs = len(batch["owner"])
    whole, true, false, part, prompts = texts.split([size, pairs, pairs, size, len(texts) - 2 * size - 2 * pairs])
    target = torch.arange(size)
    same = batch["same_whole"] & ~torch.eye(size, dtype=torch.bool)

    # Captions against images, every swapped caption of the batch a further wrong answer.
    to_whole = image @ whole.T
    logits = (scale * to_whole).masked_fill(same, -1e4)
    contrast = F.cross_entropy(torch.cat([logits, scale * image @ false.T], 1), target) + F.cross_entropy(logits.T, target)

    # The true caption against its swapped twin, everything else equal.
    mine = image[batch["owner"]]
    margin = scale * ((mine * true).sum(-1) - (mine * false).sum(-1))
    pair = F.softplus(-margin).mean()

    # Single clauses. Equal texts are no wrong answers for each other.
    repeated = batch["same_part"] & ~torch.eye(size, dtype=torch.bool)
    clause_logits = (scale * image @ part.T).masked_fill(repeated, -1e4)
    clause = F.cross_entropy(clause_logits, target) + F.cross_entropy(clause_logits.T, target)

    # Seven-way choice between the categories' prompt means.
    means = F.normalize(prompts.view(len(CATEGORIES), -1, prompts.shape[-1]).mean(1), dim=-1)
    category_logits = scale * image @ means.T
    category = F.cross_entropy(category_logits, batch["category"])

    # Each pair by itself: gives similarities of different captions one common threshold.
    pair_scale, pair_bias = model.pair_scale.float().exp(), model.pair_bias.float()
    sign = 2.0 * torch.eye(size) - 1.0
    each = F.softplus(-sign * (pair_scale * to_whole + pair_bias)).masked_fill(same, 0.0)
    own = torch.cat([(mine * true).sum(-1), -(mine * false).sum(-1)])
    own_sign = torch.cat([torch.ones(len(true)), -torch.ones(len(false))])
    absolute = each.sum() / size + F.softplus(-(pair_scale * own + own_sign * pair_bias)).mean()

    # The attributes by name. Without this the first thousands of steps go into finding out what captions are about.
    guesses = model.heads(pooled).float().split(list(LABELS.values()), dim=1)
    attributes = [F.cross_entropy(g, y, ignore_index=-100) for g, y in zip(guesses, batch["labels"].T)]
    # Weighted by how long they take: kinds and counts are learned last, and what a caption says depends on them most.
    named = sum(ATTRIBUTE_WEIGHTS[name] * loss for name, loss in zip(LABELS, attributes))

    total = 0.5 * contrast + 1.5 * pair + 0.15 * clause + 0.8 * category + 0.3 * absolute + named
    with torch.no_grad():
        report = {
            "contrast": contrast / 2,
            "top1": (logits.argmax(1) == target).float().mean(),
            "pair": (margin > 0).float().mean(),
            "clause": clause / 2,
            "category": (category_logits.argmax(1) == batch["category"]).float().mean(),
            "absolute": absolute,
            **{name: (g.argmax(1) == y).float().mean() for name, g, y in zip(LABELS, guesses, batch["labels"].T)},
        }
        for index, name in enumerate(SWAP_WEIGHTS):
            rows = batch["attribute"] == index
            if name in ("count", "object", "colour", "weather") and rows.any():
                report["swap_" + name] = (margin[rows] > 0).float().mean()
    return total, report


def replace_file(path, write):
    """Writes next to the path and renames, so that a reader never sees half a file."""
    partial = path + ".part"
    write(partial)
    os.replace(partial, path)


def write_json(path, value):
    def write(partial):
        with open(partial, "w") as file:
            json.dump(value, file, indent=2)
            file.write("\n")

    replace_file(path, write)


def export(state, cfg, tokenizer, folder, prompts):
    bos, eos = tokenizer.token_to_id("<|startoftext|>"), tokenizer.token_to_id("<|endoftext|>")
    tensors = {name: value.detach().half().contiguous().clone() for name, value in to_hf(state, cfg).items()}
    write_json(os.path.join(folder, "config.json"), hf_config(cfg, bos, eos))
    write_json(
        os.path.join(folder, "preprocessor_config.json"),
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": SIZE},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": SIZE, "width": SIZE},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )
    target = os.path.join(folder, "prompts.json")
    if os.path.abspath(prompts) != os.path.abspath(target):
        replace_file(target, lambda partial: shutil.copyfile(prompts, partial))

    def write(partial):
        save_file(tensors, partial, metadata={"format": "pt"})
        os.chmod(partial, 0o644)

    replace_file(os.path.join(folder, "model.safetensors"), write)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(os.path.join(args.model, "tokenizer.json"))
    encoder = Encoder(tokenizer, tokenizer.token_to_id("<|endoftext|>"))
    with open(args.prompts) as file:
        prompts = json.load(file)
    cfg = {
        "vision": {
            "image": SIZE, "patch": args.patch, "width": args.width, "layers": args.layers,
            "heads": args.width // 64, "inner": 4 * args.width,
        },
        "text": {
            "vocab": tokenizer.get_vocab_size(), "width": args.text_width, "layers": args.text_layers,
            "heads": args.text_width // 64, "inner": 4 * args.text_width, "context": 77,
        },
        "projection": args.projection,
        "labels": sum(LABELS.values()),
    }
    # `master` holds the f32 weights that the optimiser moves, `model` the bf16 copy that computes.
    master = Demo(cfg)
    labels = Labels()
    if args.init:
        if args.init.endswith(".safetensors"):
            # The heads are not exported: they start anew, and the labels' numbers with them.
            missing, unknown = master.load_state_dict(from_hf(load_file(args.init), cfg), strict=False)
            if unknown or set(missing) != set(NOT_EXPORTED):
                sys.exit(f"{args.init} is no model of this shape: missing {missing}, unknown {unknown}")
        else:
            saved = torch.load(args.init, weights_only=True)
            master.load_state_dict(saved["average"])
            labels.seen.update(saved["labels"])
    model = Demo(cfg).bfloat16()
    scalars = ("logit_scale", "pair_scale", "pair_bias")
    names = [name for name, _ in master.named_parameters()]
    weights = dict(master.named_parameters())
    inside = [n for n in names if weights[n].dim() == 2 and n.startswith(("vision.", "text."))]
    matrices, others = [weights[n] for n in inside], [weights[n] for n in names if n not in inside]
    # Muon for the matrices inside the transformers: it needs about half of AdamW's steps, and steps are what a CPU
    # is short of. Its updates are scaled to AdamW's size, so one learning rate serves both.
    optimisers = [
        torch.optim.Muon(matrices, lr=args.rate, weight_decay=args.decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0, foreach=True),
    ]
    average = {n: p.detach().clone() for n, p in master.named_parameters()}
    step, spent = 0, 0.0
    if args.resume and os.path.exists(args.checkpoint):
        saved = torch.load(args.checkpoint, weights_only=True)
        master.load_state_dict(saved["master"])
        for optimiser, state in zip(optimisers, saved["optimisers"]):
            optimiser.load_state_dict(state)
        average, step, spent = saved["average"], saved["step"], saved["spent"]
        labels.seen.update(saved["labels"])  # the heads' outputs keep their meaning
    batches = Batches(args.data, encoder, prompts, args.batch, args.swaps, SWAP_WEIGHTS, labels, args.seed + 7919 * step, args.mapped)
    print(f"{batches.store.meta['scenes']} scenes, {sum(p.numel() for n, p in weights.items() if n not in NOT_EXPORTED)} parameters", flush=True)

    working = dict(model.named_parameters())
    start, begun = time.time() - spent, step
    last_save, sums, counted, waited = time.time(), {}, 0, 0.0
    while True:
        progress = (time.time() - start) / (60 * args.minutes)
        if progress >= 1:
            break
        rate = args.rate * (
            progress / args.warmup
            if progress < args.warmup
            else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - args.warmup) / (1 - args.warmup)))
        )
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        with torch.no_grad():
            for n in names:
                working[n].copy_(weights[n])
                working[n].grad = None
            # The scalars multiply everything and need more than eight bits.
        clock = time.time()
        batch = batches.next()
        waited += time.time() - clock
        scale = weights["logit_scale"].exp()
        for n in scalars:
            weights[n].grad = None
        model.pair_scale, model.pair_bias = weights["pair_scale"], weights["pair_bias"]
        loss, report = losses(model, batch, scale, args.text_only)
        loss.backward()
        for n in names:
            if n not in scalars:
                # None on a side that is kept; the optimisers pass it over, weight decay included.
                grad = working[n].grad
                weights[n].grad = None if grad is None else grad.float()
        norm = torch.nn.utils.clip_grad_norm_(master.parameters(), 1.0, foreach=True)
        if not torch.isfinite(norm):
            print(f"step {step}: gradient not finite, skipped", flush=True)
            continue
        for optimiser in optimisers:
            optimiser.step()
        with torch.no_grad():
            weights["logit_scale"].clamp_(max=math.log(100.0))
            # A short memory at first: early weights are not worth averaging.
            keep = min(args.average, (1 + step) / (10 + step))
            torch._foreach_lerp_([average[n] for n in names], [weights[n] for n in names], 1 - keep)
        step += 1
        report["loss"] = loss.detach()
        for key, value in report.items():
            total, n = sums.get(key, (0.0, 0))
            sums[key] = total + float(value.detach()), n + 1
        counted += 1
        if step % 25 == 0:
            line = " ".join(f"{key} {total / n:.3f}" for key, (total, n) in sums.items())
            pace = (time.time() - start - spent) / (step - begun)
            print(
                f"{(time.time() - start) / 60:6.1f} min step {step} {line} scale {float(scale.detach()):.1f} norm {float(norm):.2f} "
                f"rate {rate:.2e} scenes {len(batches.store)} s/step {pace:.2f} waited {waited / counted:.2f}", flush=True,
            )
            sums, counted, waited = {}, 0, 0.0
        if time.time() - last_save > 60 * args.save_minutes:
            last_save = time.time()
            save(args, master, optimisers, average, step, time.time() - start, labels.seen, cfg, tokenizer)
    save(args, master, optimisers, average, step, time.time() - start, labels.seen, cfg, tokenizer)
    print(f"done: {step} steps in {(time.time() - start) / 60:.1f} minutes", flush=True)


def save(args, master, optimisers, average, step, spent, labels, cfg, tokenizer):
    state = {
        "master": master.state_dict(), "optimisers": [o.state_dict() for o in optimisers], "average": average,
        "step": step, "spent": spent, "labels": labels,
    }
    replace_file(args.checkpoint, lambda partial: torch.save(state, partial))
    export(average, cfg, tokenizer, args.model, args.prompts)


if __name__ == "__main__":
    sys.exit(main())
