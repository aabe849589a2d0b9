"""Pack clips into an interval package, and say what a validator would.

    python pack_and_verify.py CLIPS.csv BUCKET HOTKEY INTERVAL

CLIPS.csv has the columns clip, caption, source_video_url and clip_start_sec; paths are relative to it.
The result is 0 where the package would be accepted, 1 where it would not, 2 where nothing could be packed.
"""

import csv
import sys
from pathlib import Path

import nexis


def main(table: str, bucket: str, hotkey: str, interval: str) -> int:
    with open(table, newline="", encoding="utf-8") as file:
        items = [dict(row) for row in csv.DictReader(file)]
    for item in items:
        item["clip"] = Path(table).parent / item["clip"]
        item["clip_start_sec"] = float(item["clip_start_sec"])
    try:
        report = nexis.pack(items, bucket, hotkey=hotkey, interval=int(interval), fit="letterbox", overwrite=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    return 0 if report.accepted else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
