"""Reports as tables: a page's, pandas' and Arrow's."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as _pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import pyarrow as _pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

    from .results import Decision, Report

COLUMNS: dict[str, type] = {
    "miner_hotkey": str,
    "interval_id": int,
    "accepted": bool,
    "row_index": int,
    "clip_id": str,
    "caption": str,
    "probability": float,
    "threshold": float,
    "caption_verdict": str,
    "caption_decided_by": str,
    "caption_yes": float,
    "caption_nature": float,
    "nature_score": float,
    "margin": float,
    "category_verdict": str,
    "category_decided_by": str,
    "category_yes": float,
    "failures": list,
    "inconclusive": str,
}


def lines(report: Report) -> list[dict[str, Any]]:
    """One line per judged row, with these columns."""
    found = []
    for submission in report.submissions:
        for row in submission.rows:
            alignment, category = row.alignment, row.category
            found.append(
                {
                    "miner_hotkey": submission.miner_hotkey,
                    "interval_id": submission.interval_id,
                    "accepted": submission.accepted,
                    "row_index": row.row_index,
                    "clip_id": row.clip_id,
                    "caption": row.caption,
                    "probability": None if alignment is None else alignment.probability,
                    "threshold": None if alignment is None else alignment.threshold,
                    "caption_verdict": None if alignment is None else alignment.verdict,
                    **_decided("caption", None if alignment is None else alignment.cascade),
                    "caption_nature": None if category is None else category.caption_nature,
                    "nature_score": None if category is None else category.nature_score,
                    "margin": None if category is None else category.margin,
                    "category_verdict": None if category is None else category.decision,
                    **_decided("category", None if category is None else category.cascade),
                    "failures": list(row.failures),
                    "inconclusive": row.inconclusive,
                }
            )
    return found


def _decided(question: str, decision: Decision | None) -> dict[str, Any]:
    """What decided; nothing where neither a judge nor a second model had a say."""
    return {
        f"{question}_decided_by": None if decision is None else decision.decided_by,
        f"{question}_yes": None if decision is None else decision.yes,
    }


def to_pandas(report: Report) -> _pandas.DataFrame:
    """`lines` as a data frame."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("Report.to_pandas needs pandas; install it") from error
    return pandas.DataFrame(lines(report), columns=list(COLUMNS))


def to_arrow(report: Report) -> _pyarrow.Table:
    """`lines` as an Arrow table, whose columns have their types even where all of them are empty."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Report.to_arrow needs pyarrow; install it") from error
    kinds = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        list: pyarrow.list_(pyarrow.string()),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    return pyarrow.Table.from_pylist(lines(report), schema=schema)


def html(report: Report) -> str:
    """One line per submission, for a notebook. What a miner wrote is text in it."""
    head = ("miner", "interval", "verdict", "score", "weight", "rows", "reasons")
    body = []
    for submission in report.submissions:
        why = ", ".join(submission.failures) or "; ".join(submission.inconclusive)
        weight = report.weights.get(submission.miner_hotkey, 0.0)
        cells = (
            submission.miner_hotkey,
            submission.interval_id,
            submission.verdict,
            f"{submission.score:g}",
            f"{weight:.1%}",
            f"{submission.sampled_rows} of {submission.record_count}",
            why,
        )
        body.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    notice = f"<p>{escape(report.environment.notice)}</p>" if report.environment.notice else ""
    heads = "".join(f"<th>{name}</th>" for name in head)
    return f"{notice}<table><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"
