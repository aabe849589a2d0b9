// The list of recent verdicts: filters, details on demand, evidence as a file.

import { ask, askJson } from "./api.js";
import { badge, byId, element, figure, moment, outside, printable } from "./dom.js";
import { submissionView, verdictView, whyView } from "./result.js";

/** How many verdicts one request asks for. */
const STEP = 25;
/** Answers of this page whose pictures are kept, so that the list can show them again. */
const KEPT = 20;

const pictures = new Map();
let shown = new Map();
let last = null;
let asked = 0;

/** Keeps the small pictures of an answer, which no evidence holds. */
export function keepPictures(result) {
  if (!Array.isArray(result.frames)) return;
  pictures.set(
    result.id,
    new Map(result.frames.filter((frame) => frame.picture).map((frame) => [frame.rgb_sha256, frame.picture])),
  );
  while (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
}

/** Connects the filters; `onRefusal` hears what the page as a whole must know, such as that a key is needed. */
export function startRecent(onRefusal) {
  let typing = 0;
  const filters = byId("filters");
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    refresh();
  });
  filters.addEventListener("change", () => refresh());
  byId("text").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => refresh(), 250);
  });
  byId("older").addEventListener("click", () => load(last));
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") refresh();
  });

  /** Asks for the newest verdicts that fit. */
  function refresh() {
    clearTimeout(typing);
    return load(null);
  }

  async function load(before) {
    // The answer to an older question must not replace that to a newer one.
    asked += 1;
    const mine = asked;
    const query = new URLSearchParams({ limit: STEP });
    for (const filter of ["kind", "verdict", "text"]) {
      const value = byId(filter).value.trim();
      if (value !== "") query.set(filter, value);
    }
    if (before !== null) query.set("before", before);
    try {
      const answer = await askJson(`v1/verdicts?${query}`);
      if (mine === asked) show(answer, before !== null, query);
    } catch (error) {
      if (mine !== asked) return;
      byId("count").textContent = `The list could not be had: ${printable(error.message)}`;
      onRefusal(error);
    }
  }

  return refresh;
}

function show(answer, older, query) {
  const verdicts = answer.verdicts;
  const before = older ? shown : new Map();
  const known = shown;
  shown = new Map(before);
  for (const verdict of verdicts) {
    const key = `${verdict.sequence} ${verdict.id}`;
    shown.set(key, known.get(key) ?? entry(verdict));
  }
  last = verdicts.at(-1)?.sequence ?? last;
  const focused = document.activeElement;
  byId("list").replaceChildren(...shown.values());
  if (focused !== document.activeElement && byId("list").contains(focused)) focused.focus({ preventScroll: true });
  byId("older").hidden = !answer.more;
  byId("columns").hidden = shown.size === 0;
  const filtered = ["kind", "verdict", "text"].some((filter) => query.has(filter));
  const none = filtered ? "No verdict fits these filters" : "Nothing has been judged since the server started";
  const number = shown.size === 1 ? "1 verdict" : `${shown.size} verdicts`;
  byId("count").replaceChildren(
    shown.size === 0 ? none : `${number}${answer.more ? ", and older ones" : ""}`,
    ", as of ",
    moment(new Date().toISOString()),
    ".",
  );
}

function entry(verdict) {
  const details = element("div", { class: "body" });
  const title = verdict.caption ?? verdict.hotkey;
  const node = element(
    "details",
    { class: "recent", "data-id": verdict.id },
    element(
      "summary",
      {},
      badge(verdict.verdict),
      element("span", { class: "what", dir: "auto" }, title === null ? `${verdict.frames} frames` : printable(title)),
      cell("P(match)", verdict.probability, verdict.decided_by),
      cell("nature", verdict.nature_score, verdict.nature_decided_by),
      element("span", { class: "kind" }, printable(verdict.kind)),
      element("span", { class: "when" }, moment(verdict.created_at)),
    ),
    details,
  );
  node.addEventListener("toggle", () => {
    if (node.open && !details.hasChildNodes()) open(verdict, details);
  });
  return node;
}

/** What decided by a figure of the list, where it was not one encoder's threshold. */
const DECIDERS = {
  agreement: "both agree",
  "log-odds": "both, summed",
  judge: "judge",
  "budget-spent": "budget spent",
  "too-long": "too long",
};

/** A figure that decided, and by whom; a judge's is its P(yes). */
function cell(term, value, by) {
  const decider = Object.hasOwn(DECIDERS, by ?? "") ? DECIDERS[by] : null;
  return element(
    "span",
    { class: "num" },
    value !== null && [element("span", { class: "term" }, `${term} `), figure(value)],
    value !== null && decider !== null && [" ", element("span", { class: "by" }, decider)],
  );
}

async function open(verdict, details) {
  details.replaceChildren(element("p", { class: "legend", role: "status" }, "Fetching the evidence …"));
  try {
    const text = await ask(`v1/evidence/${encodeURIComponent(verdict.id)}`);
    const record = JSON.parse(text);
    const view =
      verdict.kind === "verify" && Array.isArray(record.rows)
        ? // A submission's own reasons say the same, and of which clip.
          [record.reasons?.length > 0 ? null : whyView(verdict), submissionView(record)]
        : verdictView(
            { ...record, why: verdict.why, failures: verdict.failures, verdict: verdict.verdict },
            pictures.get(verdict.id),
          );
    details.replaceChildren(...[view, evidenceLine(verdict.id, text)].flat(Infinity).filter(Boolean));
  } catch (error) {
    details.replaceChildren(
      element("p", { class: "notice", role: "alert" }, "The evidence could not be had: ", outside(error.message)),
      element("button", { type: "button", on: { click: () => open(verdict, details) } }, "Try again"),
    );
  }
}

/** The evidence's id, and a button that saves the record byte for byte: its SHA-256 is the id. */
export function evidenceLine(id, text = null) {
  const trouble = element("span", { role: "status" });
  const button = element("button", { type: "button", class: "save" }, "Download evidence");
  button.addEventListener("click", async () => {
    trouble.textContent = "";
    try {
      save(`${id}.json`, text ?? (await ask(`v1/evidence/${encodeURIComponent(id)}`)));
    } catch (error) {
      trouble.textContent = printable(error.message);
    }
  });
  return element("p", { class: "evidence" }, button, element("span", { class: "mono" }, printable(id)), trouble);
}

function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
