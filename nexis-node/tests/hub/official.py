"""Fetches files of a repository with the official client, or finds them where HF_HUB_OFFLINE is set.

usage: official.py REPOSITORY REVISION FILE...

Prints a JSON object of SHA-256 by file. Everything else comes from the environment, as for any program that uses the
client.
"""

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.constants import HF_HUB_OFFLINE

repository, revision, *files = sys.argv[1:]
digests = {}
for name in files:
    path = Path(hf_hub_download(repository, name, revision=revision))
    digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
if HF_HUB_OFFLINE:
    # All at once, as transformers asks.
    folder = Path(snapshot_download(repository, revision=revision))
    assert all((folder / name).is_file() for name in files), folder
print(json.dumps(digests))
