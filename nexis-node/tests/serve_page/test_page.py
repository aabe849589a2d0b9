"""The page of `nexis serve`, in a browser, against the program."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import JUDGE, KEY, PICTURES, Clip, Server, Visit, score, second
from playwright.sync_api import Page, Route, expect

Open = Callable[..., Visit]

CONTRACT = json.loads((Path(__file__).parents[2] / "src/serve/openapi.json").read_text())
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
LABELS = ["nature", "people", "animal", "vehicle", "urban", "indoor", "other"]
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'


def example(response: str) -> dict:
    """The contract's example of a refusal."""
    return CONTRACT["components"]["responses"][response]["content"]["application/json"]["example"]


def refusal(status: int, body: dict, **headers: str) -> Callable[[Route], None]:
    """Answers in the server's place, with what the contract says of it."""
    answer = {"status": status, "headers": {"Content-Type": "application/json", **headers}, "body": json.dumps(body)}
    return lambda route: route.fulfill(**answer)


def post(server: Server, path: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"{server.origin}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def data_uri(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def drop(page: Page, *files: Path) -> None:
    """Drops files on the page, as from a file manager."""
    contents = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in files]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
                const type = name.endsWith(".png") ? "image/png" : "video/mp4";
                transfer.items.add(new File([bytes], name, { type }));
            }
            return transfer;
        }""",
        contents,
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def reads_well(page: Page, name: str, width: int) -> None:
    """Nothing is wider than it may be, and nothing keeps anybody out. Leaves a picture."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the screen"
    boxes = page.locator(".drop, .panel, .submission, .recent, .strip, .categories, .evidence")
    wider = boxes.evaluate_all(
        "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.className)"
    )
    assert wider == [], name
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == [], name


def three(value: float) -> str:
    return f"{value:.3f}".replace("-0.000", "0.000")


def test_a_dropped_clip_and_its_caption_are_accepted_with_the_figures_of_the_command_line(
    server: Server, visit: Open, clip: Clip
) -> None:
    visited = visit(server)
    page = visited.page
    page.evaluate(
        """() => {
            const state = document.getElementById("state");
            window.seen = [];
            new MutationObserver(() => window.seen.push(state.dataset.state)).observe(state, { attributes: true });
        }"""
    )
    drop(page, clip.path)
    expect(page.locator("#chosen")).to_contain_text(clip.path.name)
    page.fill("#caption", clip.caption)
    page.click("#go")
    visited.state("done")
    assert page.evaluate("window.seen.filter((name, at) => name !== window.seen[at - 1])") == [
        "uploading",
        "judging",
        "done",
    ]

    expected = score(clip.path, clip.caption)
    assert expected["verdict"] == "accept", "the drawn clip is none that the demonstration model accepts"
    result = page.locator("#result")
    expect(result.locator("#result-title .badge")).to_have_text("✓ accept")
    expect(result.locator(".reasons.accept p")).not_to_have_count(0)
    expect(result.locator("blockquote")).to_have_text(clip.caption)

    pts = [f"{frame['pts_seconds']:.2f} s" for frame in expected["frames"]]
    expect(result.locator(".strip figcaption")).to_have_text(pts)
    loaded = result.locator(".strip img").evaluate_all(
        "(all) => Promise.all(all.map((one) => one.decode().then(() => one.naturalWidth)))"
    )
    assert len(loaded) == len(pts) and all(width > 0 for width in loaded)

    units = expected["alignment"]["units"]
    expect(result.locator(".match .value")).to_have_text(
        f"{three(expected['alignment']['probability'])} ≥ {three(expected['alignment']['threshold'])}"
    )
    rows = result.locator(".heat").first.locator("tbody tr")
    expect(rows.locator("th")).to_have_text([unit["text"] for unit in units])
    expect(rows.locator("td")).to_have_text(
        [three(value) for unit in units for value in [unit["similarity"], *unit["per_frame"]]]
    )

    category = expected["category"]
    judged = result.locator("figure.category:not(.rule)")
    expect(judged).to_have_count(3)
    for at, frame in enumerate(category["frames"]):
        expect(judged.nth(at).locator("figcaption b")).to_have_text(frame["winner"])
        expect(judged.nth(at).locator(".bar .num")).to_have_text([three(frame["scores"][label]) for label in LABELS])
    # The rule stands where it is in the bars: 0.72 of nature's, and 0.12 below nature's mean in each rival's.
    ticks = result.locator(".rule .tick").evaluate_all(
        "(all) => all.map((one) => parseFloat(one.style.getPropertyValue('--share')))"
    )
    rival = round(max(0.0, category["nature_score"] - 0.12) * 100, 1)
    assert ticks == pytest.approx([72.0, *[rival] * 5], abs=0.11)
    features = expected["alignment"]["features"]
    expect(result.locator(".more dt")).to_have_text(list(features))
    expect(result.locator(".more dd")).to_have_text([three(value) for value in features.values()])
    expect(result.locator(".conditions .holds")).to_have_count(3)
    expect(result.locator(".conditions")).to_contain_text(f"mean of nature {three(category['nature_score'])} ≥ 0.72")
    visited.check()


def test_a_caption_of_something_else_is_rejected_with_the_reason(
    server: Server, visit: Open, clip: Clip, other: Clip
) -> None:
    visited = visit(server)
    visited.judge(clip.path, other.caption)
    result = visited.page.locator("#result")
    assert score(clip.path, other.caption)["verdict"] == "reject"
    expect(result.locator("#result-title .badge")).to_have_text("✕ reject")
    expect(result.locator(".reasons.reject p").first).to_have_text(
        re.compile(r"^The caption does not describe the frames.*0\.\d")
    )
    expect(result.locator(".failures code").first).to_have_text("caption_semantic_mismatch")
    expect(result.locator(".match .value")).to_have_text(re.compile("<"))
    visited.check()


def signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):.3f}"


@pytest.mark.parametrize(
    ("match", "nature", "judge"),
    [(0.9, True, False), (0.02, True, False), (0.9, False, False), (0.02, False, True)],
)
def test_a_verdict_of_two_encoders_is_explained_by_both(
    start: Callable[..., Server], visit: Open, clip: Clip, tmp_path: Path, match: float, nature: bool, judge: bool
) -> None:
    engine = ["--ensemble", second(tmp_path, match, nature), *(["--judge", JUDGE] if judge else [])]
    expected = score(clip.path, clip.caption, *engine)
    visited = visit(start(*engine))
    page = visited.page
    visited.judge(clip.path, clip.caption)
    result = page.locator("#result")
    expect(page.locator("#facts")).to_contain_text("tiny (siglip, exact-f32)")
    verdict = {"accept": "✓ accept", "reject": "✕ reject"}
    expect(result.locator("#result-title .badge")).to_have_text(verdict[expected["verdict"]])

    alignment, category = expected["alignment"], expected["category"]
    both = [alignment, alignment["ensemble"]["second"]]
    signs = ["≥" if one["probability"] >= one["threshold"] else "<" for one in both]
    expect(result.locator(".match .value")).to_have_text(
        [
            f"{three(one['probability'])} {sign} {three(one['threshold'])}"
            for one, sign in zip(both, signs, strict=True)
        ]
    )
    for one, bar in zip(both, result.locator(".match").all(), strict=True):
        expect(bar).to_have_class(re.compile("accept" if one["probability"] >= one["threshold"] else "reject"))
    headings = result.locator("h3 .badge")
    expect(headings).to_have_text([verdict[alignment["verdict"]], verdict[category["decision"]]])

    def decided(report: dict, agree: bool) -> str:
        cascade, leads = report["cascade"], report["ensemble"]["log_odds"]
        if cascade["decided_by"] == "judge":
            return f"the judge decides: P(yes) {three(cascade['yes'])}"
        if agree:
            return "both encoders"
        return f"{signed(leads[0])} and {signed(leads[1])} give {signed(sum(leads))}"

    conditions = result.locator(".conditions")
    caption = conditions.nth(0).locator("li")
    expect(caption).to_have_count(1)
    expect(caption).to_contain_text(decided(alignment, signs[0] == signs[1]))
    expect(caption).to_have_class("holds" if alignment["verdict"] == "accept" else "fails")
    # Of the category: the caption's own words, then the frames. Both have to hold.
    assert category["ensemble"]["first"] == "accept", "the drawn clip is none that the demonstration model accepts"
    together = conditions.nth(1).locator("li")
    expect(together).to_have_count(2)
    expect(together.nth(0)).to_contain_text("the caption's own words: both encoders accept")
    expect(together.nth(1)).to_contain_text(decided(category, nature))
    expect(together.nth(1)).to_have_class("holds" if category["decision"] == "accept" else "fails")
    # And each one's own figures, under what it alone would say.
    expect(result.locator("h4 .badge")).to_have_text(
        [verdict[category["ensemble"]["first"]], verdict[category["ensemble"]["second"]["decision"]]]
    )
    judged = result.locator("figure.category:not(.rule)")
    frames = [*category["frames"], *category["ensemble"]["second"]["frames"]]
    expect(judged.locator("figcaption b")).to_have_text([frame["winner"] for frame in frames])
    expect(judged.locator(".bar .num")).to_have_text(
        [three(frame["scores"][label]) for frame in frames for label in LABELS]
    )
    means = [one["nature_score"] for one in (category, category["ensemble"]["second"])]
    for rule, mean in zip((conditions.nth(2), conditions.nth(3)), means, strict=True):
        expect(rule).to_contain_text(f"mean of nature {three(mean)}")

    # The list shows what decided, and the record behind it the same as the answer.
    entry = page.locator(".recent").first
    deciders = {"agreement": "both agree", "log-odds": "both, summed", "judge": "judge"}
    for cell, report in zip(entry.locator("summary .num").all()[:2], (alignment, category), strict=True):
        cascade = report["cascade"]
        expect(cell.locator(".by")).to_have_text(deciders[cascade["decided_by"]])
        if cascade["yes"] is not None:
            expect(cell).to_contain_text(three(cascade["yes"]))
    entry.locator("summary").first.click()
    expect(entry.locator(".conditions")).to_have_count(4)
    expect(entry.locator(".conditions").nth(0)).to_have_text(conditions.nth(0).text_content())
    expect(entry.locator(".conditions").nth(1)).to_have_text(conditions.nth(1).text_content())
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        reads_well(page, f"two-{expected['verdict']}-{alignment['cascade']['decided_by']}-{size}", width)
    visited.check()


def test_a_file_that_is_no_clip_is_rejected_without_frames(server: Server, visit: Open, tmp_path: Path) -> None:
    visited = visit(server)
    text = tmp_path / "text.mp4"
    text.write_bytes(b"no film at all" * 100)
    visited.judge(text, "A calm lake.")
    result = visited.page.locator("#result")
    expect(result.locator(".failures code")).to_have_text("undecodable_clip")
    expect(result.locator("img, .heat, .category")).to_have_count(0)
    visited.check()


def test_frames_are_sent_in_the_order_of_their_numbers(server: Server, visit: Open, clip: Clip) -> None:
    visited = visit(server)
    page = visited.page
    drop(page, *sorted(clip.pictures, key=str))
    names = [f"#{number} {picture.name}" for number, picture in enumerate(clip.pictures, 1)]
    expect(page.locator("#chosen .name")).to_have_text(names)
    page.fill("#caption", clip.caption)
    with page.expect_request("**/v1/score") as asked:
        page.click("#go")
    visited.state("done")
    assert asked.value.post_data_json == {
        "caption": clip.caption,
        "frames": [data_uri(picture) for picture in clip.pictures],
        "pictures": True,
    }
    # Pictures have no time: they are numbered.
    result = page.locator("#result")
    expect(result.locator(".strip figcaption")).to_have_text([f"#{number}" for number in range(1, 11)])
    expect(result.locator(".strip .middle figcaption")).to_have_text(["#5", "#6", "#7"])
    visited.check()


def test_what_cannot_be_sent_is_said_at_its_field(server: Server, visit: Open, clip: Clip) -> None:
    visited = visit(server)
    page = visited.page
    page.click("#go")
    expect(page.locator("#files-problem")).to_have_text("Choose a clip, or frames of one.")
    expect(page.locator("#caption-problem")).to_have_text("Say what the clip shows.")
    expect(page.locator("#files")).to_be_focused()
    expect(page.locator("#files")).to_have_attribute("aria-invalid", "true")
    drop(page, clip.path, clip.pictures[0])
    expect(page.locator("#files-problem")).to_contain_text("one clip, or JPEG or PNG frames")
    drop(page, *[clip.pictures[0]] * 13)
    expect(page.locator("#files-problem")).to_contain_text("at most 12")
    drop(page, clip.path)
    expect(page.locator("#files-problem")).to_be_hidden()
    page.click("#go")
    expect(page.locator("#caption")).to_be_focused()
    assert not [request for request in visited.requests if request.method == "POST"]
    visited.check()


def test_markup_in_captions_names_and_messages_is_shown_and_runs_nothing(
    server: Server, visit: Open, clip: Clip, tmp_path: Path
) -> None:
    visited = visit(server)
    page = visited.page
    name = "<img src=x onerror=window.hit=1>.mp4"
    (tmp_path / name).write_bytes(clip.path.read_bytes())
    # A right-to-left override would make the rest of the line read otherwise than it is.
    caption = f"{clip.caption} {HOSTILE} \u202etpircs"
    visited.judge(tmp_path / name, caption)
    expect(page.locator("#chosen bdi")).to_have_text(name)
    expect(page.locator("#result blockquote")).to_have_text(f"{clip.caption} {HOSTILE} \ufffdtpircs")
    entry = page.locator(".recent").first
    expect(entry.locator(".what")).to_contain_text(HOSTILE)
    entry.locator("summary").first.click()
    expect(entry.locator("blockquote")).to_contain_text(HOSTILE)

    page.route("**/v1/score", refusal(400, {"error": {"message": HOSTILE}}))
    page.click("#go")
    visited.state("error")
    expect(page.locator("#trouble")).to_contain_text(HOSTILE)

    page.fill("#text", "onerror=")
    expect(page.locator(".recent")).to_have_count(1)
    assert page.evaluate("window.hit") is None
    assert page.locator("script").count() == 1
    assert page.locator("img:not([src^='data:image/jpeg'])").count() == 0
    visited.check(400)


def test_the_list_filters_opens_and_gives_the_evidence_byte_for_byte(
    start: Callable[..., Server], package: Path, visit: Open, clip: Clip, other: Clip
) -> None:
    server = start("--root", package)
    frames = [data_uri(picture) for picture in clip.pictures[:7]]
    post(server, "/v1/verify", {"path": str(package), "all_rows": True})
    post(server, "/v1/classify", {"frames": frames})
    pictures = [{"type": "image_url", "image_url": {"url": frame}} for frame in frames]
    asked = 'Does the caption match these frames of a clip? Answer only {"match": true} or {"match": false}.'
    prompt = f"{asked}\nCaption: {clip.caption}"
    message = {"role": "user", "content": [{"type": "text", "text": prompt}, *pictures]}
    post(server, "/v1/chat/completions", {"model": "any", "messages": [message]})
    visited = visit(server)
    page = visited.page
    visited.judge(clip.path, clip.caption)
    visited.judge(clip.path, other.caption)

    kinds = page.locator(".recent .kind")
    verdicts = page.locator(".recent .badge:not(.recent .body .badge)")
    expect(kinds).to_have_text(["score", "score", "match", "classify", "verify"])
    expect(page.locator("#count")).to_contain_text("5 verdicts")
    page.select_option("#kind", "score")
    expect(verdicts).to_have_text(["✕ reject", "✓ accept"])
    page.select_option("#verdict", "accept")
    expect(verdicts).to_have_text(["✓ accept"])
    page.select_option("#kind", "")
    page.select_option("#verdict", "reject")
    page.fill("#text", "SEMANTIC_mismatch")
    expect(kinds).to_have_text(["score", "verify"])
    page.fill("#text", "nothing has this in it")
    expect(page.locator("#count")).to_contain_text("No verdict fits these filters")
    page.fill("#text", "")
    page.select_option("#verdict", "")
    expect(kinds).to_have_count(5)

    for kind in ("score", "match", "classify", "verify"):
        entry = page.locator(".recent").filter(has=page.locator(f".kind:text-is('{kind}')")).first
        entry.locator("summary").first.click()
        expect(entry.locator(".evidence")).to_have_count(1)
        with page.expect_download() as downloaded:
            entry.locator(".save").click()
        identity = entry.get_attribute("data-id")
        assert downloaded.value.suggested_filename == f"{identity}.json"
        assert hashlib.sha256(Path(downloaded.value.path()).read_bytes()).hexdigest() == identity, kind
        expect(entry.locator(".heat")).not_to_have_count(0)
        if kind == "verify":
            expect(entry.locator(".codes code").first).to_have_text(re.compile("^caption_semantic_mismatch:"))
            expect(entry.locator(".row")).to_have_count(2)
            expect(entry.locator(".facts").first).to_contain_text("7756900")
        elif kind == "match":
            expect(entry.locator(".match")).to_have_count(1)
        else:
            expect(entry.locator("figure.category")).to_have_count(4)
    visited.check()


def test_older_verdicts_come_when_asked_for(start: Callable[..., Server], visit: Open, clip: Clip) -> None:
    server = start()
    for number in range(27):
        post(server, "/v1/score", {"caption": f"Number {number}.", "frames": [data_uri(clip.pictures[0])]})
    visited = visit(server)
    page = visited.page
    expect(page.locator(".recent")).to_have_count(25)
    expect(page.locator(".recent .what").first).to_have_text("Number 26.")
    page.click("#older")
    expect(page.locator(".recent")).to_have_count(27)
    expect(page.locator(".recent .what").last).to_have_text("Number 0.")
    expect(page.locator("#older")).to_be_hidden()
    visited.check()


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(server: Server, visit: Open, clip: Clip) -> None:
    visited = visit(server)
    page = visited.page
    busy = example("Busy")
    soon = refusal(429, busy, **{"Retry-After": "2"})
    late = refusal(429, busy, **{"Retry-After": "3000"})
    # Refused twice, then let through to the server.
    page.route("**/v1/score", soon, times=2)
    visited.judge(clip.path, clip.caption, "busy")
    expect(page.locator("#status")).to_contain_text(busy["error"]["message"])
    expect(page.locator("#clock")).to_have_text(re.compile(r"^again in [12] s$"))
    visited.state("done")
    assert len([request for request in visited.requests if request.method == "POST"]) == 3

    page.route("**/v1/score", late, times=1)
    page.click("#go")
    visited.state("busy")
    expect(page.locator("#clock")).to_have_text(re.compile(r"^again in (2999|3000) s$"))
    page.click("#now")
    visited.state("done")
    expect(page.locator("#go")).to_be_focused()

    page.route("**/v1/score", late)
    page.click("#go")
    visited.state("busy")
    page.click("#stop")
    visited.state("idle")
    expect(page.locator("#go")).to_be_focused()
    visited.check(429)


def test_refusals_are_shown_as_the_server_says_them_with_what_to_do(
    server: Server, visit: Open, clip: Clip, tmp_path: Path
) -> None:
    visited = visit(server)
    page = visited.page
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(5 << 20))
    visited.judge(large, "A calm lake.", "error")
    expect(page.locator("#trouble")).to_contain_text("5.0 MiB")
    expect(page.locator("#trouble .hint")).to_have_text("Choose a smaller file, or fewer or smaller frames.")
    for status, name in ((500, "Defect"), (503, "Unavailable"), (504, "TookTooLong")):
        page.route("**/v1/score", refusal(status, example(name)))
        visited.judge(clip.path, clip.caption, "error")
        expect(page.locator("#trouble bdi")).to_have_text(example(name)["error"]["message"])
        expect(page.locator("#trouble .hint")).not_to_be_empty()
        page.unroute("**/v1/score")
    # After a refusal the same can be asked again.
    page.click("#go")
    visited.state("done")
    expect(page.locator("#trouble")).to_be_empty()
    visited.check(413, 500, 503, 504)


def test_a_server_that_is_gone_is_said_to_be(start: Callable[..., Server], visit: Open, clip: Clip) -> None:
    server = start()
    visited = visit(server)
    server.stop()
    visited.judge(clip.path, clip.caption, "error")
    expect(visited.page.locator("#trouble")).to_contain_text("The server did not answer.")
    visited.check(0)


def test_a_key_is_asked_for_and_kept_nowhere(
    start: Callable[..., Server], visit: Open, clip: Clip, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    server = start("--api-key-file", file)
    visited = visit(server)
    page = visited.page
    visited.state("key")
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#facts")).to_be_empty()
    page.fill("#key", "not the key")
    page.keyboard.press("Enter")
    visited.state("key")
    expect(page.locator("#key-trouble")).to_contain_text("key")
    visited.judge(clip.path, clip.caption, "key")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    # What waited for the key goes on by itself.
    visited.state("done")
    expect(page.locator("#facts")).to_contain_text("demo")
    expect(page.locator(".recent")).to_have_count(1)
    kept = page.evaluate(
        "[location.href, document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)]"
    )
    assert kept == [f"{server.origin}/", ""]
    page.reload()
    visited.state("key")
    visited.check(401)


def test_a_demonstration_model_is_named_as_one(server: Server, visit: Open, clip: Clip) -> None:
    with urllib.request.urlopen(f"{server.origin}/v1/models") as answer:
        (model,) = json.load(answer)["data"]
    assert model["demonstration"]
    visited = visit(server)
    expect(visited.page.locator("#notice")).to_contain_text(model["notice"])
    expect(visited.page.locator("#facts")).to_contain_text(model["id"])
    visited.judge(clip.path, clip.caption)
    expect(visited.page.locator("#result [role=note]")).to_contain_text(model["notice"])
    visited.check()


def test_everything_can_be_reached_and_done_with_the_keyboard(server: Server, visit: Open, clip: Clip) -> None:
    visited = visit(server)
    page = visited.page
    expect(page.locator(".recent")).not_to_have_count(0)
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.localName"))
    assert (
        reached
        == ["summary", "files", "caption", "go", "kind", "verdict", "text", "button", "summary", "summary"][
            : len(reached)
        ]
    )
    # Opened and closed without a pointer, focus staying where it was.
    page.keyboard.press("Enter")
    expect(page.locator(".recent[open] .evidence")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".recent[open]")).to_have_count(0)
    page.set_input_files("#files", clip.path)
    page.focus("#caption")
    page.keyboard.type("A calm lake.")
    page.keyboard.press("Control+Enter")
    visited.state("done")
    # Whoever cannot see is told, without being moved elsewhere.
    expect(page.locator("#status[role=status]")).to_have_text(re.compile("^(Accepted|Rejected): see below.$"))
    expect(page.locator("#caption")).to_be_focused()
    visited.check()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_those_who_asked_for_rest(server: Server, visit: Open, motion: str) -> None:
    page = visit(server, reduced_motion=motion).page
    moves = page.evaluate(
        """() => {
            const bar = document.getElementById("progress");
            bar.hidden = false;
            bar.removeAttribute("value");
            return getComputedStyle(bar).animationName;
        }"""
    )
    assert (moves == "none") == (motion == "reduce")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_reads_well_in_every_state(
    server: Server, visit: Open, clip: Clip, other: Clip, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    visited = visit(server, width, height, color_scheme=scheme)
    page = visited.page

    def look(state: str) -> None:
        reads_well(page, f"{state}-{size}-{scheme}", width)

    expect(page.locator("#count")).not_to_be_empty()
    look("idle")
    visited.judge(clip.path, clip.caption)
    look("accept")
    visited.judge(clip.pictures[:7], other.caption)
    page.locator(".recent summary").nth(1).click()
    expect(page.locator(".recent[open] .evidence")).to_have_count(1)
    look("reject")
    page.route("**/v1/score", refusal(429, example("Busy"), **{"Retry-After": "9"}))
    page.click("#go")
    visited.state("busy")
    look("busy")
    page.click("#stop")
    page.unroute("**/v1/score")
    page.route("**/v1/score", refusal(413, example("TooLarge")))
    page.click("#go")
    visited.state("error")
    look("error")
    page.unroute("**/v1/score")
    page.route("**/v1/score", refusal(401, example("Unauthorised")))
    page.click("#go")
    visited.state("key")
    look("key")
    visited.check(429, 413, 401)


def test_answers_are_guarded_and_kept_by_their_digest(server: Server) -> None:
    def get(path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        request = urllib.request.Request(f"{server.origin}/{path}", headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, {k.lower(): v for k, v in refused.headers.items()}, ""

    status, headers, html = get("")
    assert (status, headers["content-type"], headers["cache-control"]) == (
        200,
        "text/html; charset=utf-8",
        "no-cache",
    )
    again, same, _ = get("", **{"If-None-Match": headers["etag"]})
    assert (again, same["etag"]) == (304, headers["etag"])
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    named = re.findall(r'(?:href|src)="(page/[^"]+)"', html)
    assert len(named) == 4 and "@version" not in html
    for path in named:
        assert path.split("/")[1] == headers["etag"].strip('"')
        status, answer, _ = get(path)
        assert (status, answer["content-type"]) == (200, kinds[path.rsplit(".")[-1]])
        assert "immutable" in answer["cache-control"]
        for guard in ("content-security-policy", "x-content-type-options", "referrer-policy"):
            assert answer[guard] == headers[guard]
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" == policy["style-src"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert get(named[0].replace(headers["etag"].strip('"'), "0" * 64))[0] == 404
