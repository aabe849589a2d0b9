// A verdict and what is behind it: frames, caption against frames, category. The look is that of the program's report.

import { badge, element, figure, moment, outside, printable, share } from "./dom.js";

const LABELS = ["nature", "people", "animal", "vehicle", "urban", "indoor", "other"];
/** `other` wins no frame for nature, but its score is no rival in the rule. */
const RIVALS = ["people", "animal", "vehicle", "urban", "indoor"];
/** The network's rule on the middle three frames. */
const RULE = { wins: 2, natureScore: 0.72, margin: 0.12 };
/** P(yes) from which a judge's answer is a yes. */
const YES = 0.5;

/** Everything about one judged clip: an answer of `/v1/score` or `/v1/classify`, an evidence record, or a row. */
export function verdictView(result, pictures = new Map()) {
  const frames = list(result.frames);
  const category = categoryOf(result, frames);
  const middle = new Set(category === null ? [] : category.frames.map((frame) => frame.frame_index));
  return [
    notice(result.environment),
    whyView(result),
    framesView(frames, middle, pictures),
    typeof result.caption === "string" && element("blockquote", { dir: "auto" }, printable(result.caption)),
    object(result.alignment) && alignmentView(result.alignment, frames),
    category !== null && categoryView(category, frames),
    Array.isArray(result.labels) && labelsView(result.labels, frames),
    factsView(result),
  ];
}

/** One miner's submission, as the report of `nexis verify` has it. */
export function submissionView(submission) {
  const facts = [
    ["interval", printable(submission.interval_id)],
    ["rows", `${printable(submission.record_count)}, ${printable(submission.pruned_rows)} pruned`],
    ["sampled", `${printable(submission.sampled_rows)}, ${printable(submission.passed_sample_count)} passed`],
    ["score", printable(submission.score)],
    ["checked", moment(submission.checked_at)],
  ];
  return [
    factList(facts),
    codes("reject", list(submission.reasons)),
    list(submission.inconclusive).map((why) =>
      element("p", { class: "notice" }, "Could not be checked: ", outside(why)),
    ),
    list(submission.warnings).length > 0 && [
      element("h3", {}, "Warnings ", element("small", {}, "the strict policy would reject")),
      codes("inconclusive", list(submission.warnings)),
    ],
    list(submission.rows).map((row) =>
      element(
        "details",
        { class: "row" },
        element(
          "summary",
          {},
          badge(rowVerdict(row)),
          " ",
          element("span", {}, `Row ${printable(row.row_index)} · clip `, outside(row.clip_id, { class: "mono" })),
        ),
        verdictView(row),
      ),
    ),
  ];
}

function rowVerdict(row) {
  if (list(row.failures).length > 0) return "reject";
  return typeof row.inconclusive === "string" ? "inconclusive" : "accept";
}

function codes(kind, violations) {
  if (violations.length === 0) return null;
  return element(
    "ul",
    { class: `codes ${kind}` },
    violations.map((violation) =>
      element(
        "li",
        {},
        element("code", {}, outside(violation.code)),
        " ",
        violation.detail && outside(violation.detail, { class: "detail" }),
      ),
    ),
  );
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

function object(value) {
  return value !== null && typeof value === "object";
}

function notice(environment) {
  const said = environment?.notice;
  return typeof said === "string" && element("p", { class: "legend", role: "note" }, `Notice: ${printable(said)}`);
}

/** The reasons in words, and the codes. */
export function whyView(result) {
  const why = list(result.why);
  const failures = list(result.failures);
  const unchecked = typeof result.inconclusive === "string" ? [result.inconclusive] : [];
  if (why.length + failures.length + unchecked.length === 0) return null;
  return element(
    "div",
    { class: `reasons ${failures.length > 0 ? "reject" : result.verdict === "accept" ? "accept" : "inconclusive"}` },
    [...why, ...unchecked].map((sentence) => element("p", {}, outside(sentence))),
    failures.length > 0 &&
      element(
        "p",
        { class: "failures" },
        failures.map((code) => element("code", {}, outside(code))),
      ),
  );
}

/** Pictures given one by one have no time: they are numbered. */
function timed(frames) {
  return frames.some((frame) => Number.isFinite(frame.pts_seconds) && frame.pts_seconds > 0);
}

function name(frames, index) {
  const frame = frames[index];
  return frame && timed(frames) && Number.isFinite(frame.pts_seconds)
    ? `${frame.pts_seconds.toFixed(2)} s`
    : `#${index + 1}`;
}

function framesView(frames, middle, pictures) {
  const shown = frames.map((frame, index) => {
    const picture = typeof frame.picture === "string" ? frame.picture : pictures.get(frame.rgb_sha256);
    if (typeof picture !== "string" || !picture.startsWith("data:image/")) return null;
    const alt = timed(frames) ? `frame ${index + 1} at ${name(frames, index)}` : `frame ${index + 1}`;
    return element(
      "figure",
      { class: middle.has(index) ? "middle" : null },
      element("img", { src: picture, alt }),
      element("figcaption", {}, name(frames, index)),
    );
  });
  if (!shown.some((picture) => picture !== null)) return null;
  return [
    element("div", { class: "strip", vars: { "--columns": Math.min(shown.length, 7) } }, shown),
    middle.size > 0 && element("p", { class: "legend" }, "The category is judged on the frames marked with a bar."),
  ];
}

function borderline(is) {
  return is === true && [" ", element("span", { class: "mark" }, "borderline")];
}

function alignmentView(alignment, frames) {
  const said = alignment.ensemble;
  const second = object(said) && object(said.second) ? said.second : null;
  const { cascade } = alignment;
  return [
    element(
      "h3",
      {},
      "Caption against frames ",
      object(cascade) && badge(alignment.verdict),
      borderline(alignment.borderline || second?.borderline),
    ),
    matchView("P(match)", alignment),
    second !== null && matchView("second encoder", second),
    object(cascade) &&
      conditionList([
        decision(
          cascade,
          second === null ? null : { accept: [said.first, second.verdict].map(accepts), leads: said.log_odds },
        ),
      ]),
    second !== null && element("h4", {}, "First encoder"),
    unitsView(list(alignment.units), frames),
    second !== null && [element("h4", {}, "Second encoder"), unitsView(list(second.units), frames)],
  ];
}

function unitsView(units, frames) {
  return (
    units.length > 0 &&
    heatTable({
      corner: "Part of the caption",
      columns: ["mean", ...columns(units, frames)],
      rows: units.map((unit) => ({ title: unit.text, values: [unit.similarity, ...list(unit.per_frame)] })),
      emphasis: 0,
      legend: "Cosine similarity of each part to each frame",
    })
  );
}

function accepts(verdict) {
  return verdict === "accept";
}

/** Figures with their signs, for distances from a threshold. */
function signed(value) {
  return `${value < 0 ? "−" : "+"}${figure(Math.abs(value))}`;
}

/**
 * What two encoders say together: what both say, else what the sum of their log-odds from their thresholds says. `accept`
 * and `leads` have one of each; null where there is no lead.
 */
function together({ accept: [first, second], leads }) {
  if (first === second) return [first, `both encoders ${first ? "accept" : "reject"}`];
  const [lead, other] = leads ?? [0, 0];
  const sum = lead + other;
  return [
    sum > 0,
    `the encoders disagree, and the sum of their log-odds from their thresholds decides: ${signed(lead)} and ${signed(other)} ` +
      `give ${signed(sum)}, and more than 0 is needed`,
  ];
}

/** What decided a question where a judge is loaded or two encoders decide together, as a condition of the verdict. */
function decision({ decided_by: by, encoder, yes }, both) {
  const [holds, words] = both === null ? [accepts(encoder), "the encoder's threshold decides"] : together(both);
  switch (by) {
    case "judge":
      return [yes >= YES, `in doubt, so the judge decides: P(yes) ${figure(yes)} ${yes >= YES ? "≥" : "<"} ${YES}`];
    case "budget-spent":
      return [holds, `in doubt, and the interval's calls of the judge were spent: ${words}`];
    case "too-long":
      return [holds, `in doubt, and longer than the judge reads: ${words}`];
    case "log-odds":
      return [holds, `in doubt: ${words}`];
    case "agreement":
      return [holds, words];
    default:
      return [holds, `the judge was not asked: ${words}`];
  }
}

/** Conditions of a verdict, each with whether it holds. */
function conditionList(conditions) {
  if (conditions.length === 0) return null;
  return element(
    "ul",
    { class: "conditions" },
    conditions.map(([holds, text]) =>
      element(
        "li",
        { class: holds ? "holds" : "fails" },
        element("span", { class: "sign", "aria-hidden": "true" }, holds ? "✓" : "✕"),
        ` ${text}`,
        !holds && element("span", { class: "unseen" }, ": does not hold"),
      ),
    ),
  );
}

/** One encoder's P(match) against its threshold. */
function matchView(name, { probability, threshold }) {
  const reaches = probability >= threshold;
  return element(
    "div",
    { class: `match ${reaches ? "accept" : "reject"}` },
    element("span", { class: "name" }, name),
    track(probability, { tick: threshold, label: `${figure(probability)} of 1, threshold ${figure(threshold)}` }),
    element(
      "span",
      { class: "value" },
      element("b", {}, figure(probability)),
      ` ${reaches ? "≥" : "<"} ${figure(threshold)}`,
    ),
  );
}

function columns(units, frames) {
  const most = Math.max(0, ...units.map((unit) => list(unit.per_frame).length));
  return Array.from({ length: most }, (_, index) => name(frames, index));
}

/** A table of figures whose cells are coloured from the lowest to the highest. */
function heatTable({ corner, columns: heads, rows, emphasis = -1, legend }) {
  const values = rows.flatMap((row) => row.values).filter(Number.isFinite);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const heat = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  // On a narrow screen the rows become grids, which would cost the table its roles.
  const head = element(
    "tr",
    { role: "row" },
    element("th", { role: "columnheader", scope: "col" }, corner),
    heads.map((text) => element("th", { role: "columnheader", scope: "col", class: "num" }, text)),
  );
  const body = rows.map((row) =>
    element(
      "tr",
      { role: "row" },
      element("th", { role: "rowheader", scope: "row", dir: "auto" }, printable(row.title)),
      row.values.map((value, index) =>
        element(
          "td",
          {
            role: "cell",
            class: index === emphasis ? "num mean" : "num",
            vars: { "--h": share(heat(value)) },
          },
          figure(value),
        ),
      ),
    ),
  );
  return [
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        { class: "heat", role: "table", vars: { "--cells": heads.length } },
        element("thead", { role: "rowgroup" }, head),
        element("tbody", { role: "rowgroup" }, body),
      ),
    ),
    values.length > 0 &&
      element(
        "p",
        { class: "legend" },
        `${legend}. The stronger the colour, the higher: from ${figure(low)} to ${figure(high)} here.`,
      ),
  ];
}

/** A bar; `label` where no figure stands beside it for those who cannot see. */
function track(value, { tick = null, label = null } = {}) {
  return element(
    "span",
    {
      class: "track",
      role: label === null ? null : "img",
      "aria-label": label,
      "aria-hidden": label === null ? "true" : null,
    },
    element("span", { class: "fill", vars: { "--share": share(value) } }),
    tick !== null && element("span", { class: "tick", vars: { "--share": share(tick) } }),
  );
}

/** The category in one shape, whether a caption was judged with it or not. */
function categoryOf(result, frames) {
  if (object(result.category)) return { ...result.category, frames: list(result.category.frames) };
  if (!Array.isArray(result.labels)) return null;
  const first = middleOf(frames.length || result.labels.length);
  const category = { ...result, frames: first === null ? [] : result.labels.slice(first, first + 3) };
  // The verdict may be of the caption, which was asked about in the same question.
  return { ...category, decision: passes(category) ? "accept" : "reject" };
}

/** The first of the middle three of so many frames. */
function middleOf(count) {
  return count < 3 ? null : Math.min(Math.max(Math.floor(count / 2) - 1, 0), count - 3);
}

function categoryView(category, frames) {
  const said = category.ensemble;
  const second = object(said) && object(said.second) ? said.second : null;
  return [
    element("h3", {}, "Category ", badge(category.decision), borderline(category.borderline)),
    second === null
      ? [encoderView(category, frames), conditionList(aloneConditions(category))]
      : [
          conditionList(togetherConditions(category, said)),
          element("h4", {}, "First encoder alone ", badge(said.first)),
          encoderView(category, frames),
          element("h4", {}, "Second encoder alone ", badge(second.decision), borderline(second.borderline)),
          encoderView({ ...second, frames: list(second.frames) }, frames),
        ],
  ];
}

/** What decided behind one encoder's rule: the caption's own words, or a judge. */
function aloneConditions(category) {
  const { cascade } = category;
  const conditions = [];
  // The gate's threshold is the card's: it shows where the rule alone would have let the frames pass.
  const alone = object(cascade) ? cascade.encoder : category.decision;
  const { caption_nature: nature } = category;
  if (passes(category) && !accepts(alone) && Number.isFinite(nature)) {
    conditions.push([false, `the caption's own words: P(nature) ${figure(nature)} is too low`]);
  }
  if (object(cascade)) conditions.push(decision(cascade, null));
  return conditions;
}

/** What decided of two encoders: the caption's own words, then the frames, and that neither alone lets both pass. */
function togetherConditions(category, said) {
  const gate = said.gate ?? null;
  const words = gate === null ? [true, ""] : together({ accept: gate.map((lead) => lead >= 0), leads: gate });
  const conditions = gate === null ? [] : [[words[0], `the caption's own words: ${words[1]}`]];
  if (category.frames.length < 3) return conditions;
  const { cascade } = category;
  const both = { accept: [passes(category), passes(said.second)], leads: said.log_odds };
  // The doubt may have been of the words; where a judge would have been asked, it was of the frames.
  const asked = cascade?.decided_by === "judge";
  const judges = asked || ["budget-spent", "too-long"].includes(cascade?.decided_by);
  const rule = judges ? decision(cascade, both) : together(both);
  conditions.push([rule[0], `the frames: ${rule[1]}`]);
  if (words[0] && rule[0] && !asked && !accepts(said.first) && !accepts(said.second.decision)) {
    conditions.push([false, "each encoder rejects, the one for the caption's words and the other for the frames"]);
  }
  return conditions;
}

/** One encoder's labels of the middle frames, and the rule on them. */
function encoderView(category, frames) {
  const judged = category.frames;
  return [
    judged.length > 0 &&
      element(
        "div",
        { class: "categories" },
        judged.map((frame) =>
          element(
            "figure",
            { class: "category" },
            element(
              "figcaption",
              {},
              `frame ${frame.frame_index + 1}`,
              timed(frames) && `, ${name(frames, frame.frame_index)}`,
              ": ",
              element("b", {}, printable(frame.winner)),
            ),
            bars(frame.scores ?? {}, frame.winner, { nature: RULE.natureScore }),
          ),
        ),
        judged.length >= 3 && ruleViews(category),
      ),
    judged.length < 3 && element("p", { class: "legend" }, "Fewer than three frames: the rule cannot be applied."),
  ];
}

function bars(scores, winner, ticks) {
  return LABELS.map((label) =>
    element(
      "div",
      {
        class: ["bar", label === "nature" && "nature", label === winner && "wins"].filter(Boolean).join(" "),
        "data-label": label,
      },
      element("span", {}, label),
      track(scores[label], { tick: ticks[label] ?? null }),
      element("span", { class: "num" }, figure(scores[label])),
    ),
  );
}

/** The rule's figures on the middle frames, and its three conditions. */
function ruleOf(category) {
  const mean = (label) =>
    category.frames.reduce((sum, frame) => sum + (frame.scores?.[label] ?? 0), 0) / category.frames.length;
  const means = Object.fromEntries(LABELS.map((label) => [label, mean(label)]));
  const rival = RIVALS.reduce((best, label) => (means[label] > means[best] ? label : best));
  const wins = category.frames.filter((frame) => frame.winner === "nature").length;
  const nature = category.nature_score ?? means.nature;
  const margin = category.margin ?? nature - means[rival];
  const against = (value, least) => `${figure(value)} ${value >= least ? "≥" : "<"} ${least}`;
  const conditions = [
    [wins >= RULE.wins, `nature wins ${wins} of ${category.frames.length} frames (${RULE.wins} needed)`],
    [nature >= RULE.natureScore, `mean of nature ${against(nature, RULE.natureScore)}`],
    [margin >= RULE.margin, `margin to ${rival} ${against(margin, RULE.margin)}`],
  ];
  return { means, nature, conditions };
}

/** Whether the rule lets the frames pass. */
function passes(category) {
  const judged = list(category.frames);
  return judged.length >= 3 && ruleOf({ ...category, frames: judged }).conditions.every(([holds]) => holds);
}

/** The rule's three conditions, marked in the means that they are about. */
function ruleViews(category) {
  const { means, nature, conditions } = ruleOf(category);
  const ticks = {
    nature: RULE.natureScore,
    ...Object.fromEntries(RIVALS.map((label) => [label, nature - RULE.margin])),
  };
  return [
    element(
      "figure",
      { class: "category rule" },
      element("figcaption", {}, "mean of the three, with the rule"),
      bars(means, null, ticks),
    ),
    conditionList(conditions),
    element(
      "p",
      { class: "legend" },
      "Marks in the bars: what nature must reach on the mean, and what no rival may exceed. ",
      Number.isFinite(category.caption_nature) &&
        `P(nature) of the caption alone: ${figure(category.caption_nature)}.`,
    ),
  ];
}

function labelsView(labels, frames) {
  return heatTable({
    corner: "Category",
    columns: labels.map((frame) => name(frames, frame.frame_index)),
    rows: LABELS.map((label) => ({ title: label, values: labels.map((frame) => frame.scores?.[label]) })),
    legend: "Score of each category in each frame",
  });
}

function factsView(result) {
  const facts = [];
  if (object(result.probe)) facts.push(["stream", printable(probeLine(result.probe))]);
  if (list(result.left_out).length > 0) facts.push(["left out", printable(result.left_out.join("; "))]);
  const times = Object.entries(result.timings_ms ?? {});
  if (times.length > 0)
    facts.push(["time", printable(times.map(([step, ms]) => `${step} ${Number(ms).toFixed(0)} ms`).join(", "))]);
  return [
    facts.length > 0 && factList(facts, "small"),
    featuresView("Figures behind P(match)", result.alignment),
    featuresView("Figures behind the second encoder's P(match)", result.alignment?.ensemble?.second),
  ];
}

function featuresView(title, alignment) {
  const features = Object.entries(alignment?.features ?? {});
  return (
    features.length > 0 &&
    element(
      "details",
      { class: "more" },
      element("summary", {}, title),
      factList(
        features.map(([name, value]) => [printable(name), figure(value)]),
        "small",
      ),
    )
  );
}

/** What made a result, as names and values. */
export function environmentFacts(environment) {
  if (!object(environment)) return [];
  const named = (model) => printable(`${model.id} (${model.architecture}, ${model.precision})`);
  const { model, ensemble, judge } = environment;
  return [
    ["model", object(model) ? named(model) : "none"],
    ...(object(ensemble?.model) ? [["ensemble", named(ensemble.model)]] : []),
    ...(object(judge?.identity?.model) ? [["judge", named(judge.identity.model)]] : []),
    ["device", printable(environment.device)],
    ["decoder", printable(environment.decoder)],
    ["nexis", printable(environment.nexis)],
  ];
}

/** Names and values, side by side where there is room. */
export function factList(facts, more = "") {
  return element(
    "dl",
    { class: `facts ${more}`.trim() },
    facts.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
  );
}

function probeLine(probe) {
  const number = (value) => (Number.isFinite(value) ? value.toFixed(3) : "?");
  let line = `${probe.width}x${probe.height} ${probe.codec} ${probe.pixel_format}, ${number(probe.fps)} fps, ${number(probe.duration_seconds)} s`;
  if (Number.isFinite(probe.frame_count)) line += `, ${probe.frame_count} frames`;
  if (probe.rotation) line += `, turned ${probe.rotation} degrees`;
  return line + (probe.has_audio ? ", with audio" : ", no audio");
}
