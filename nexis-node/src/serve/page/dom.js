// Elements and numbers. Whatever comes from outside enters the page here, as text.

// Characters that take no room or reorder what stands around them, as the program's reports replace them.
const UNSEEN = new RegExp(
  "[\\p{Cc}\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f" +
    "\\u3164\\ufeff\\uffa0\\ufff0-\\ufffb\\ufffe\\uffff\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]+",
  "gu",
);
const SPACE = /[\t-\r\u0085\u2028\u2029\p{Zs}]/gu;
const PILED = /(\p{Mn}{3})\p{Mn}+/gu;

/** Longest text from outside that is shown; the evidence has all of it. */
const LONGEST = 4000;

/** A text on one line, in which nothing is invisible and nothing reorders its surroundings. */
export function printable(value) {
  const text = String(value);
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return cut.toWellFormed().replace(SPACE, " ").replace(UNSEEN, "\ufffd").replace(PILED, "$1\ufffd");
}

/** Text from outside, apart from the direction of what surrounds it. */
export function outside(value, attributes = {}) {
  return element("bdi", attributes, printable(value));
}

/**
 * An element with attributes and children. Children are elements or text, never markup. `on` holds listeners, `vars`
 * custom properties: the page's policy allows no style attribute.
 */
export function element(tag, { on = {}, vars = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  for (const [name, value] of Object.entries(vars)) made.style.setProperty(name, value);
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** An element of the page by its id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A figure with three decimals; what is not a number says so. */
export function figure(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace(/^-(?=0\.000$)/, "") : "n/a";
}

/** A share in 0..1 as a CSS percentage. */
export function share(value) {
  return `${(Number.isFinite(value) ? Math.min(1, Math.max(0, value)) * 100 : 0).toFixed(1)}%`;
}

/** A number of bytes for people. */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${(count / 1024 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`;
}

/** A moment: the time alone where it is of today. */
export function moment(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return outside(text);
  const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const shown = day(at) === day(new Date()) ? clock : `${day(at)} ${clock}`;
  return element("time", { datetime: at.toISOString(), title: at.toISOString() }, shown);
}

function two(number) {
  return String(number).padStart(2, "0");
}

/** A verdict in words, with a mark for those who do not see its colour. */
export function badge(verdict) {
  const marks = { accept: "✓", reject: "✕", inconclusive: "?" };
  const known = Object.hasOwn(marks, verdict);
  return element(
    "span",
    { class: known ? `badge ${verdict}` : "badge" },
    known && element("span", { "aria-hidden": "true" }, marks[verdict]),
    known ? ` ${verdict}` : printable(verdict),
  );
}
