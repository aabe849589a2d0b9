"""The network as it is trained: the same function as transformers' CLIPModel, written for a CPU.

Why not train CLIPModel itself: under bf16 autocast on a CPU a third of the time goes to casts between f32 and
bf16 and to QuickGELU made of three elementwise passes. Here every activation is bf16 (the f32 master weights
live in the optimiser) and the activation is one fused SiLU. `to_hf` turns the weights into a CLIPModel state
dictionary that computes the same function: quick_gelu(x / 1.702) * 1.702 = silu(x), so the first matrix of each
MLP is divided by 1.702 and the second multiplied by it.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

QUICK_GELU = 1.702


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.layer_norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x, mask=None):
        n, length, width = x.shape
        q, k, v = self.qkv(self.layer_norm1(x)).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.finish(x, self.attend(q, k, v, mask))

    def pooled(self, x, at, mask=None):
        """The layer's output at one position of each row: all that the last layer needs to compute."""
        n, length, width = x.shape
        rows = torch.arange(n)
        normed = self.layer_norm1(x)
        k, v = F.linear(normed, self.qkv.weight[width:], self.qkv.bias[width:]).view(
            n, length, 2, self.heads, width // self.heads
        ).permute(2, 0, 3, 1, 4)
        q = F.linear(normed[rows, at], self.qkv.weight[:width], self.qkv.bias[:width])
        q = q.view(n, 1, self.heads, width // self.heads).transpose(1, 2)
        return self.finish(x[rows, at].unsqueeze(1), self.attend(q, k, v, mask)).squeeze(1)

    def attend(self, q, k, v, mask):
        # For sequences this short, two batched products are twice as fast on a CPU as the fused attention.
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            weights = weights + mask
        mixed = weights.softmax(-1) @ v
        return mixed.transpose(1, 2).reshape(mixed.shape[0], mixed.shape[2], -1)

    def finish(self, x, mixed):
        x = x + self.out_proj(mixed)
        return x + self.fc2(F.silu(self.fc1(self.layer_norm2(x))))


class Demo(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        v, t = cfg["vision"], cfg["text"]
        self.patch = v["patch"]
        tokens = (v["image"] // v["patch"]) ** 2
        self.patch_embedding = nn.Linear(3 * v["patch"] ** 2, v["width"], bias=False)
        self.class_embedding = nn.Parameter(torch.randn(v["width"]) * 0.02)
        self.vision_positions = nn.Parameter(torch.randn(tokens + 1, v["width"]) * 0.02)
        self.pre_layernorm = nn.LayerNorm(v["width"])
        self.vision = nn.ModuleList(Block(v["width"], v["heads"], v["inner"]) for _ in range(v["layers"]))
        self.post_layernorm = nn.LayerNorm(v["width"])
        self.visual_projection = nn.Linear(v["width"], cfg["projection"], bias=False)
        self.token_embedding = nn.Embedding(t["vocab"], t["width"])
        self.text_positions = nn.Parameter(torch.randn(t["context"], t["width"]) * 0.01)
        self.text = nn.ModuleList(Block(t["width"], t["heads"], t["inner"]) for _ in range(t["layers"]))
        self.final_layer_norm = nn.LayerNorm(t["width"])
        self.text_projection = nn.Linear(t["width"], cfg["projection"], bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        # Only for the pairwise sigmoid loss; not exported.
        self.pair_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.pair_bias = nn.Parameter(torch.tensor(-5.0))
        # Only for the attribute loss; not exported.
        self.heads = nn.Linear(v["width"], cfg.get("labels", 1))
        self.reset()

    def reset(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for blocks in (self.vision, self.text):
            for block in blocks:  # keep the residual stream's variance independent of the depth
                for last in (block.out_proj, block.fc2):
                    last.weight.data.mul_((2 * len(blocks)) ** -0.5)

    def image(self, pixels):
        """pixels: u8 [n, size, size, 3] -> unnormalised embeddings."""
        return self.visual_projection(self.pooled_image(pixels))

    def pooled_image(self, pixels):
        """The normed class token. Mean and deviation of the pixels are 0.5 for every channel."""
        n, size, _, _ = pixels.shape
        p, g = self.patch, size // self.patch
        dtype = self.patch_embedding.weight.dtype
        x = pixels.view(n, g, p, g, p, 3).permute(0, 1, 3, 5, 2, 4).reshape(n, g * g, 3 * p * p).to(dtype)
        x = self.patch_embedding(x.mul_(1 / 127.5).sub_(1.0))
        x = torch.cat([self.class_embedding.expand(n, 1, -1), x], 1) + self.vision_positions
        x = self.pre_layernorm(x)
        for block in self.vision[:-1]:
            x = block(x)
        x = self.vision[-1].pooled(x, torch.zeros(n, dtype=torch.long))
        return self.post_layernorm(x)

    def caption(self, ids, ends):
        """ids: [n, length], padded after the end token at `ends` [n]; causal attention never looks at the padding."""
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.text_positions[:length]
        places = torch.arange(length)
        later = torch.full((length, length), -1e4, dtype=x.dtype).triu(1)
        for block in self.text[:-1]:
            x = block(x, later)
        beyond = (places[None] > ends[:, None]).to(x.dtype)[:, None, None] * -1e4
        x = self.text[-1].pooled(x, ends, beyond)
        return self.text_projection(self.final_layer_norm(x))


# Parts of a layer here and there, and by what the exported weights are multiplied.
LAYER_PARTS = (
    ("out_proj", "self_attn.out_proj", 1.0),
    ("layer_norm1", "layer_norm1", 1.0),
    ("layer_norm2", "layer_norm2", 1.0),
    ("fc1", "mlp.fc1", 1 / QUICK_GELU),
    ("fc2", "mlp.fc2", QUICK_GELU),
)


def _layer(out, prefix, state, source, width):
    weights, biases = state[source + ".qkv.weight"].split(width), state[source + ".qkv.bias"].split(width)
    for name, weight, bias in zip("qkv", weights, biases):
        out[f"{prefix}.self_attn.{name}_proj.weight"], out[f"{prefix}.self_attn.{name}_proj.bias"] = weight, bias
    for mine, theirs, factor in LAYER_PARTS:
        out[f"{prefix}.{theirs}.weight"] = state[f"{source}.{mine}.weight"] * factor
        # The bias of the second matrix is added after the product and stays as it is.
        out[f"{prefix}.{theirs}.bias"] = state[f"{source}.{mine}.bias"] * (1.0 if mine == "fc2" else factor)


def to_hf(state, cfg):
    """The state dictionary of transformers' CLIPModel for a state dictionary of Demo."""
    v, t = cfg["vision"], cfg["text"]
    out = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual_projection.weight"],
        "text_projection.weight": state["text_projection.weight"],
        "vision_model.embeddings.class_embedding": state["class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["patch_embedding.weight"].view(
            v["width"], 3, v["patch"], v["patch"]
        ),
        "vision_model.embeddings.position_embedding.weight": state["vision_positions"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["text_positions"],
    }
    for name, theirs in (
        ("pre_layernorm", "vision_model.pre_layrnorm"),  # the misspelling is transformers' own
        ("post_layernorm", "vision_model.post_layernorm"),
        ("final_layer_norm", "text_model.final_layer_norm"),
    ):
        for part in ("weight", "bias"):
            out[f"{theirs}.{part}"] = state[f"{name}.{part}"]
    for i in range(v["layers"]):
        _layer(out, f"vision_model.encoder.layers.{i}", state, f"vision.{i}", v["width"])
    for i in range(t["layers"]):
        _layer(out, f"text_model.encoder.layers.{i}", state, f"text.{i}", t["width"])
    return out


def from_hf(tensors, cfg):
    """The inverse of `to_hf`: what of Demo's state dictionary an exported model holds, as f32."""
    v, t = cfg["vision"], cfg["text"]
    theirs = {name: value.float() for name, value in tensors.items()}
    state = {
        "logit_scale": theirs["logit_scale"],
        "visual_projection.weight": theirs["visual_projection.weight"],
        "text_projection.weight": theirs["text_projection.weight"],
        "class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "patch_embedding.weight": theirs["vision_model.embeddings.patch_embedding.weight"].reshape(v["width"], -1),
        "vision_positions": theirs["vision_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "text_positions": theirs["text_model.embeddings.position_embedding.weight"],
    }
    layers = [(f"vision.{i}", f"vision_model.encoder.layers.{i}") for i in range(v["layers"])]
    layers += [(f"text.{i}", f"text_model.encoder.layers.{i}") for i in range(t["layers"])]
    for part in ("weight", "bias"):
        state[f"pre_layernorm.{part}"] = theirs[f"vision_model.pre_layrnorm.{part}"]
        state[f"post_layernorm.{part}"] = theirs[f"vision_model.post_layernorm.{part}"]
        state[f"final_layer_norm.{part}"] = theirs[f"text_model.final_layer_norm.{part}"]
        for mine, source in layers:
            state[f"{mine}.qkv.{part}"] = torch.cat([theirs[f"{source}.self_attn.{name}_proj.{part}"] for name in "qkv"])
            for name, other, factor in LAYER_PARTS:
                scale = 1.0 if (name, part) == ("fc2", "bias") else factor
                state[f"{mine}.{name}.{part}"] = theirs[f"{source}.{other}.{part}"] / scale
    return state


def hf_config(cfg, bos, eos):
    """config.json. eos_token_id is never 2, so transformers pools at the first end token, not at the largest id."""
    v, t = cfg["vision"], cfg["text"]
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": cfg["projection"],
        "logit_scale_init_value": 2.6592,
        "initializer_factor": 1.0,
        "torch_dtype": "float16",
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": t["vocab"],
            "hidden_size": t["width"],
            "intermediate_size": t["inner"],
            "num_hidden_layers": t["layers"],
            "num_attention_heads": t["heads"],
            "max_position_embeddings": t["context"],
            "projection_dim": cfg["projection"],
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "attention_dropout": 0.0,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": eos,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": v["width"],
            "intermediate_size": v["inner"],
            "num_hidden_layers": v["layers"],
            "num_attention_heads": v["heads"],
            "num_channels": 3,
            "image_size": v["image"],
            "patch_size": v["patch"],
            "projection_dim": cfg["projection"],
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "attention_dropout": 0.0,
        },
    }
