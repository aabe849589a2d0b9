# %% [markdown]
# # Check packages, and look at the scores
#
# Cells are marked with `# %%`: open the file in an editor that knows them, or run it whole:
#
#     python check_a_package.py FOLDER [CURVE.png]
#
# `FOLDER` is what `nexis.verify` takes: an interval folder, a miner's bucket, or a folder of buckets. `make demo`
# in the repository leaves one in `demo-out/buckets`.

# %%
from __future__ import annotations

import logging
import sys
from pathlib import Path

import nexis

logging.basicConfig(level=logging.WARNING)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out/buckets")
picture = Path(sys.argv[2] if len(sys.argv) > 2 else "curve.png")

# %% [markdown]
# ## What would a validator say?
#
# One line per package. In a notebook, `report` alone draws a table.

# %%
verifier = nexis.Verifier()
report = verifier.verify(folder, all_rows=True, progress=False)
print(report.environment.notice or "")
for submission in report.submissions:
    print(submission.miner_hotkey, submission.verdict, *submission.failures)

# %% [markdown]
# ## Why?
#
# Each judged row has the probability that its caption describes its clip, the card's threshold, and the caption's
# parts with their similarities. The part with the least similarity is where to look first.

# %%
rows = [(s, row) for s in report.submissions for row in s.rows if row.alignment is not None]
for submission, row in rows:
    assert row.alignment is not None
    weakest = min(row.alignment.units, key=lambda unit: unit.similarity)
    print(
        f"{row.clip_id}  P(match) {row.alignment.probability:.3f}  needed {row.alignment.threshold:.3f}"
        f"  weakest: {weakest.text!r}"
    )

# %% [markdown]
# ## How well does the score tell right from wrong?
#
# Pairs whose answer is known: each clip of an accepted package with its own caption, and with the captions of the
# other clips. For every threshold, the share of right captions that it accepts, and of wrong ones.


# %%
def clip_of(submission: nexis.Submission, clip_id: str) -> Path | None:
    """The clip's file, whichever kind of folder was given."""
    found = sorted(folder.rglob(f"clips/{clip_id}.mp4"))
    bucket = submission.miner_hotkey.lower()
    mine = [path for path in found if bucket in (part.lower() for part in path.absolute().parts)]
    return next(iter(mine or found), None)


known = [(clip_of(s, row.clip_id), row.caption) for s, row in rows if s.accepted]
captions = list(dict.fromkeys(caption for _, caption in known))
pairs = [(clip, caption, caption == own) for clip, own in known if clip is not None for caption in captions]
scores = verifier.score_many([clip for clip, _, _ in pairs], [caption for _, caption, _ in pairs])
right = [s.alignment.probability for s, (_, _, same) in zip(scores, pairs) if same]
wrong = [s.alignment.probability for s, (_, _, same) in zip(scores, pairs) if not same]
print(f"{len(right)} right pairs, {len(wrong)} wrong pairs")

# %%
thresholds = [step / 100 for step in range(101)]


def accepted(probabilities: list[float]) -> list[float]:
    """For each threshold the share of pairs that reach it."""
    return [sum(p >= t for p in probabilities) / max(len(probabilities), 1) for t in thresholds]


curves = {"right captions": accepted(right), "wrong captions": accepted(wrong)}
card_threshold = scores[0].alignment.threshold if scores else None
print("threshold  right  wrong")
for t, r, w in list(zip(thresholds, *curves.values()))[::10]:
    print(f"{t:9.2f}  {r:5.0%}  {w:5.0%}")
print(f"the card's threshold: {card_threshold}")

# %% [markdown]
# The same as a picture, where matplotlib is installed.

# %%
try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
except ImportError:
    print("install matplotlib to draw the curve")
else:
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name, shares in curves.items():
        axes.plot(thresholds, shares, label=name)
    if card_threshold is not None:
        axes.axvline(card_threshold, linestyle="--", color="grey", label="the card's threshold")
    axes.set_xlabel("threshold on P(match)")
    axes.set_ylabel("share accepted")
    axes.legend()
    figure.savefig(picture, dpi=120, bbox_inches="tight")
    print(f"drawn: {picture}")
