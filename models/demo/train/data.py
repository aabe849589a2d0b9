"""Reading an export of `nexis synth`, and the augmentations of the training.

DIR/meta.json, DIR/frames.rgb (u8, [scenes, frames, height, width, 3]) and DIR/scenes.jsonl.
"""

import io
import json
import os
import queue
import random
import re
import threading

import numpy as np
import torch
from PIL import Image, ImageFilter

CATEGORIES = ["nature", "people", "animal", "vehicle", "urban", "indoor", "other"]
SIZE = 224


def read_meta(folder):
    with open(os.path.join(folder, "meta.json")) as file:
        return json.load(file)


def read_scenes(folder, limit=None):
    scenes = []
    with open(os.path.join(folder, "scenes.jsonl")) as file:
        for line in file:
            if limit is not None and len(scenes) >= limit:
                break
            scenes.append(json.loads(line))
    return scenes


def open_frames(folder):
    meta = read_meta(folder)
    path = os.path.join(folder, "frames.rgb")
    shape = (meta["frames_per_scene"], meta["height"], meta["width"], 3)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(meta["scenes"], *shape))


def scene_texts(scene):
    """Every text of a scene that training may see (nothing from the held-out templates)."""
    texts = list(scene["captions"])
    for swap in scene["swaps"]:
        texts += [swap["true"], swap["false"]]
    return texts


def sentences(text):
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


def clauses(text):
    """The units a caption is scored by: sentences, and their parts between commas and semicolons."""
    return [part.strip() for part in re.split(r"(?<=[.!?,;:])\s+", text) if part.strip(" .,;:!?")]


# Words that say nothing about a picture, put before a clause.
FILLERS = (
    "here", "as one can see", "for the viewer", "in this recording", "this shows", "this is a view of", "we look at",
    "one sees", "what is shown is", "in the picture", "the video is about", "it is a recording of", "notice",
)


# Share of the captions that are reworded.
REWORDED = 0.4


def reworded(texts, rng):
    """The texts with their clauses in another order and fillers between them, the same change for all; as they are
    where they do not have the same number of clauses.

    Whoever writes a caption puts its parts in an order of their own. Without this the text side learns the order of
    the templates: that what comes after a negation is denied, for example.
    """
    split = [clauses(text) for text in texts]
    count = len(split[0])
    if count < 2 or any(len(parts) != count for parts in split):
        return texts
    order = rng.sample(range(count), count) if rng.random() < 0.8 else list(range(count))
    filled = {rng.randrange(count): rng.choice(FILLERS)} if rng.random() < 0.5 else {}
    stops = [rng.choice((", ", ", ", ". ", "; ", " ")) for _ in range(count)]
    out = []
    for parts in split:
        text = ""
        for place, (index, stop) in enumerate(zip(order, stops)):
            part = parts[index].strip(" .,;:!?")
            part = part[:1].lower() + part[1:]
            if index in filled:
                part = f"{filled[index]} {part}"
            if not place or text.endswith(". "):
                part = part[:1].upper() + part[1:]
            text += part + (stop if place + 1 < count else ".")
        out.append(text)
    return out


def differing(true, false, rng):
    """The unit in which a swapped caption differs from the true one, as a pair; the whole pair if there is none."""
    for split in rng.sample((sentences, clauses), 2):
        a, b = split(true), split(false)
        if len(a) != len(b) or len(a) < 2:
            continue
        pairs = [(x, y) for x, y in zip(a, b) if x != y]
        if len(pairs) == 1:
            return pairs[0]
    return true, false


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def compress(image, quality):
    """JPEG with halved chroma: block edges and colour bleeding much like a starved video encoder's."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=2)
    return decode(buffer.getvalue())


def blur(image, radius):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def grey(image):
    luma = (image.astype(np.uint16) @ np.array([77, 150, 29], dtype=np.uint16)) >> 8
    return np.repeat(luma.astype(np.uint8)[..., None], 3, axis=2)


def caption_bar(image, rng, top=None):
    """A subtitle: an opaque or translucent bar over the lower part of the frame with rows of letter-like marks."""
    image = image.copy()
    height, width = image.shape[:2]
    top = height - int(height * rng.uniform(0.12, 0.30)) if top is None else top
    alpha, shade = rng.choice((1.0, 1.0, 0.8, 0.6)), rng.choice((0, 0, 18, 40, 235))
    image[top:] = (image[top:] * (1 - alpha) + shade * alpha).astype(np.uint8)
    ink = (250, 250, rng.choice((250, 250, 80))) if shade < 128 else (20, 20, 20)
    # From small print, whose letters are mere strokes, to large.
    line = rng.randint(4, 18)
    gap = rng.randint(max(2, line // 3), line)
    for y in range(top + rng.randint(2, 8), height - line, line + gap):
        x = rng.randint(4, 50)
        stop = width - rng.randint(4, 50)
        while x < stop:
            w = rng.randint(2, max(3, line // 2))
            y0 = y + rng.choice((0, 0, line // 4))
            image[y0 : y + line - rng.choice((0, 0, line // 5)), x : x + w] = ink
            if w > 4:  # the hollow of a letter
                image[y0 + 2 : y + line // 2, x + 1 : x + w - 1] = shade
            x += w + rng.choice((1, 2, 2, 2, max(4, line // 2)))
    return image


def tone(image, rng):
    """Brightness, contrast and a slight colour cast, as one table per channel."""
    levels = np.arange(256, dtype=np.float32)
    gain, offset = rng.uniform(0.75, 1.25), rng.uniform(-20, 20)
    tables = []
    for _ in range(3):
        table = (levels - 128) * gain * rng.uniform(0.95, 1.05) + 128 + offset
        tables.append(np.clip(table, 0, 255).astype(np.uint8))
    return np.stack([tables[c][image[..., c]] for c in range(3)], axis=2)


def crop(frame, rng):
    """A square of the frame: mostly one of the verifier's tiles, sometimes a slightly smaller square, resized."""
    height, width = frame.shape[:2]
    if rng.random() < 0.65:
        x = rng.choice((0, (width - height) // 2, width - height)) if rng.random() < 0.5 else rng.randint(0, width - height)
        return np.ascontiguousarray(frame[:, x : x + height])
    side = rng.randint(int(height * 0.78), height)
    x, y = rng.randint(0, width - side), rng.randint(0, height - side)
    square = Image.fromarray(np.ascontiguousarray(frame[y : y + side, x : x + side]))
    return np.asarray(square.resize((SIZE, SIZE), Image.BICUBIC))


def augment(frame, rng):
    image = crop(frame, rng)
    if rng.random() < 0.3:
        image = tone(image, rng)
    if rng.random() < 0.10:
        image = grey(image)
    if rng.random() < 0.20:
        image = caption_bar(image, rng)
    if rng.random() < 0.12:
        image = blur(image, rng.uniform(0.6, 2.2))
    if rng.random() < 0.25:
        image = compress(image, rng.randint(8, 45))
    return image


def tiles(frame):
    """The verifier's three tiles of a frame that is already 224 high."""
    height, width = frame.shape[:2]
    return [frame[:, x : x + height] for x in (0, (width - height) // 2, width - height)]


class Encoder:
    """Captions to padded ids. `ends` is where the end token stands."""

    def __init__(self, tokenizer, eos, context=77):
        self.tokenizer, self.eos, self.context = tokenizer, eos, context
        tokenizer.no_padding()
        tokenizer.enable_truncation(context)

    def __call__(self, texts):
        return self.pad([e.ids for e in self.tokenizer.encode_batch(texts)])

    def pad(self, rows):
        ids = np.full((len(rows), max(map(len, rows))), self.eos, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return torch.from_numpy(ids), torch.tensor([len(row) - 1 for row in rows])

    def grouped(self, texts, groups=3):
        """Groups of similar length, which waste little on padding, and the rows that undo the sorting."""
        rows = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        size = -(-len(rows) // groups)
        parts = [self.pad([rows[i] for i in order[at : at + size]]) for at in range(0, len(rows), size)]
        back = torch.empty(len(rows), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(rows))
        return parts, back


# What the auxiliary heads learn to read from an image, and how many values each attribute may take.
LABELS = {"setting": 48, "kind": 64, "colour": 12, "count": 5, "weather": 6, "light": 4}


class Labels:
    """Numbers for attribute values, given out as they turn up; training alone uses them."""

    def __init__(self):
        self.seen = {name: {} for name in LABELS}

    def __call__(self, attributes):
        out = []
        for name, table in self.seen.items():
            number = table.setdefault(str(attributes.get(name)), len(table))
            out.append(number if number < LABELS[name] else -100)
        return out


class Mapped:
    """A training set whose files lie in memory already (a tmpfs) or on a disk that is fast at random reads."""

    def __init__(self, folder):
        self.meta = read_meta(folder)
        self.frames = open_frames(folder)
        with open(os.path.join(folder, "scenes.jsonl"), "rb") as file:
            self.lines = file.readlines()
        self.by_category = group_by_category(self.lines)

    def __len__(self):
        return len(self.lines)

    def scene(self, i):
        return json.loads(self.lines[i])

    def frame(self, i, rng):
        return np.array(self.frames[i, rng.randrange(self.frames.shape[1])])


def category_of(line):
    """The category of a scene's line without parsing it: it stands near the start."""
    return re.search(rb'"category":"(\w+)"', line[:120]).group(1).decode()


def group_by_category(lines):
    groups = {}
    for i, line in enumerate(lines):
        groups.setdefault(category_of(line), []).append(i)
    return groups


class Store:
    """A training set in memory: frames as JPEGs of high quality, scenes as lines of JSON.

    Raw, a set is larger than the memory, and reading it at random from a disk that others use starves the training.
    A thread reads the files once, in order, and training draws from what is there already. The verifier's frames
    come out of a video encoder, so a trace of compression does no harm.
    """

    def __init__(self, folder, quality=95, enough=1500):
        self.meta = read_meta(folder)
        self.folder, self.quality = folder, quality
        self.lines, self.jpegs, self.by_category = [], [], {}
        self.ready = threading.Event()
        self.enough = min(enough, self.meta["scenes"])
        threading.Thread(target=self.fill, daemon=True).start()
        self.ready.wait()

    def fill(self):
        shape = (self.meta["height"], self.meta["width"], 3)
        size, count = int(np.prod(shape)), self.meta["frames_per_scene"]
        frames = open(os.path.join(self.folder, "frames.rgb"), "rb", buffering=1 << 22)
        with frames, open(os.path.join(self.folder, "scenes.jsonl"), "rb") as lines:
            for i, line in enumerate(lines):
                packed = []
                for _ in range(count):
                    buffer = io.BytesIO()
                    image = np.frombuffer(frames.read(size), np.uint8).reshape(shape)
                    Image.fromarray(image).save(buffer, "JPEG", quality=self.quality, subsampling=0)
                    packed.append(buffer.getvalue())
                self.jpegs.append(packed)
                self.lines.append(line)
                self.by_category.setdefault(category_of(line), []).append(i)
                if i + 1 >= self.enough:
                    self.ready.set()
        self.ready.set()

    def __len__(self):
        return len(self.lines)

    def scene(self, i):
        return json.loads(self.lines[i])

    def frame(self, i, rng):
        return decode(rng.choice(self.jpegs[i]))


class Batches:
    """An endless source of training batches, prepared by a thread ahead of their use.

    Batches alternate between all categories and a single one: among scenes of one category only details tell the
    captions apart, and that is where a model trained on mixed batches stays weak.
    """

    def __init__(self, folder, encoder, prompts, batch, swaps, weights, labels, seed, mapped=False, ahead=3, threads=1):
        self.store, self.labels = (Mapped if mapped else Store)(folder), labels
        self.encoder, self.prompts, self.batch, self.swaps, self.weights = encoder, prompts, batch, swaps, weights
        self.lock = threading.Lock()
        self.number = 0
        self.seed = seed
        self.epoch = []
        self.queue = queue.Queue(ahead)
        for _ in range(threads):
            threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            with self.lock:
                number, self.number = self.number, self.number + 1
                rng = random.Random(self.seed * 1_000_003 + number)
                chosen = self.choose(number, rng)
            try:
                self.queue.put(self.make(chosen, rng))
            except BaseException as error:  # hand it to the trainer instead of dying unseen
                self.queue.put(error)
                raise

    def choose(self, number, rng):
        if number % 2:
            # Sizes as weights: every scene is equally frequent.
            pools = list(self.store.by_category.values())
            pool = rng.choices(pools, [len(p) for p in pools])[0]
            return rng.sample(pool, min(self.batch, len(pool)))
        if len(self.epoch) < self.batch:
            self.epoch = list(range(len(self.store)))
            rng.shuffle(self.epoch)
        chosen, self.epoch = self.epoch[: self.batch], self.epoch[self.batch :]
        return chosen

    def make(self, chosen, rng):
        pixels = np.stack([augment(self.store.frame(i, rng), rng) for i in chosen])
        scenes = [self.store.scene(i) for i in chosen]
        whole, part, true, false, owner, attribute = [], [], [], [], [], []
        for row, scene in enumerate(scenes):
            caption = rng.choice(scene["captions"])
            whole.append(reworded([caption], rng)[0] if rng.random() < REWORDED else caption)
            source = rng.choice(scene["captions"])
            part.append(rng.choice((clauses if rng.random() < 0.6 else sentences)(source)))
            pool = scene["swaps"]
            for swap in rng.choices(pool, [self.weights.get(s["attribute"], 1.0) for s in pool], k=self.swaps) if pool else ():
                a, b = swap["true"], swap["false"]
                if rng.random() < 0.4:
                    a, b = differing(a, b, rng)
                elif rng.random() < REWORDED:
                    a, b = reworded([a, b], rng)
                true.append(a)
                false.append(b)
                owner.append(row)
                attribute.append(list(self.weights).index(swap["attribute"]))
        picked = [p for c in CATEGORIES for p in rng.sample(self.prompts[c], 3)]
        with self.lock:
            labels = [self.labels(scene["attributes"]) for scene in scenes]
        return {
            "pixels": torch.from_numpy(pixels),
            "category": torch.tensor([CATEGORIES.index(scene["category"]) for scene in scenes]),
            "labels": torch.tensor(labels),
            "texts": self.encoder.grouped(whole + true + false + part + picked),
            "owner": torch.tensor(owner, dtype=torch.long),
            "attribute": torch.tensor(attribute, dtype=torch.long),
            "same_part": torch.tensor([[a == b for b in part] for a in part]),
            "same_whole": torch.tensor([[a == b for b in whole] for a in whole]),
        }

    def next(self):
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        return item
