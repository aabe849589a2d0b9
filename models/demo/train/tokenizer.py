"""Trains the small byte-level BPE tokenizer on the captions of an export.

The result has exactly the layout of OpenAI CLIP's tokenizer (lower case, CLIP's word pattern, `</w>` suffix, all
256 bytes with and without the suffix in the vocabulary), only with far fewer merges. So `CLIPTokenizerFast` and
the Rust crate `tokenizers` both read it, and a word it has never seen falls apart into known bytes.
"""

import argparse
import json
import os

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from data import read_scenes, scene_texts

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
# Letters, single digits, and runs of everything else; the same pattern as OpenAI's.
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def frame(model):
    """Everything of the tokenizer but its vocabulary."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_order():
    """The 256 stand-in characters in CLIP's order (GPT-2's bytes_to_unicode)."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def train(texts, size):
    learner = frame(models.BPE(end_of_word_suffix="</w>"))
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=size, min_frequency=2, end_of_word_suffix="</w>", show_progress=False),
    )
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = byte_order()
    tokens = alphabet + [c + "</w>" for c in alphabet]
    merges = merges[: size - len(tokens) - 2]
    # Two merges may give the same string; the vocabulary lists it once.
    tokens = list(dict.fromkeys(tokens + [a + b for a, b in merges])) + [BOS, EOS]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = frame(
        models.BPE(vocab, merges, unk_token=EOS, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.add_special_tokens([BOS, EOS])
    tokenizer.post_processor = processors.RobertaProcessing(
        (EOS, vocab[EOS]), (BOS, vocab[BOS]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer, vocab


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="exported training set")
    parser.add_argument("--prompts", default=os.path.join(os.path.dirname(__file__), "prompts.json"))
    parser.add_argument("--out", required=True, help="model directory")
    parser.add_argument("--vocab", type=int, default=2048, help="upper limit of the vocabulary")
    parser.add_argument("--scenes", type=int, default=4000, help="scenes read; more add no new words")
    args = parser.parse_args()

    texts = []
    for scene in read_scenes(args.data, args.scenes):
        texts.extend(scene_texts(scene))
    with open(args.prompts) as file:
        for prompts in json.load(file).values():
            texts.extend(prompts * 20)
    tokenizer, vocab = train(texts, args.vocab)
    os.makedirs(args.out, exist_ok=True)
    tokenizer.save(os.path.join(args.out, "tokenizer.json"))
    with open(os.path.join(args.out, "tokenizer_config.json"), "w") as file:
        json.dump(
            {
                "tokenizer_class": "CLIPTokenizer",
                "bos_token": BOS,
                "eos_token": EOS,
                "unk_token": EOS,
                "pad_token": EOS,
                "do_lower_case": True,
                "model_max_length": 77,
            },
            file,
            indent=2,
        )
    lengths = sorted(len(e.ids) for e in tokenizer.encode_batch(texts[:20000]))
    print(f"{len(vocab)} tokens; caption length median {lengths[len(lengths) // 2]}, longest {lengths[-1]}")


if __name__ == "__main__":
    main()
