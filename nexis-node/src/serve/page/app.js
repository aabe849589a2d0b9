// The page: what is asked, how far it is, and what came of it.

import { NoAnswer, Refusal, askJson, useKey } from "./api.js";
import { badge, byId, bytes, element, outside, printable } from "./dom.js";
import { evidenceLine, keepPictures, startRecent } from "./recent.js";
import { environmentFacts, factList, verdictView } from "./result.js";

/** Most pictures that one request takes. */
const MOST_FRAMES = 12;

/** What to do about a refusal, where its message does not say. */
const ADVICE = {
  400: "Change what the message names, then judge again.",
  403: "Open this page at an address that the server was started for.",
  408: "Judge again, or choose a smaller file if the line is slow.",
  413: "Choose a smaller file, or fewer or smaller frames.",
  415: "Choose an MP4 or Matroska clip, or JPEG or PNG frames.",
  500: "The server's log says more.",
  503: "Judge again in a while.",
  504: "Judge again when the server has less to do, or choose a shorter clip.",
};

/** The clip, or the frames in order; null where nothing is chosen. */
let chosen = null;
/** The request in hand. */
let work = null;
/** Whether a request waits for a key. */
let waitsForKey = false;
/** Addresses of files that the page shows. */
let addresses = [];

const refresh = startRecent((error) => {
  if (error instanceof Refusal && error.status === 401) askForKey(error.message);
});

// ---- What is judged

function choose(files) {
  if (files.length === 0) return;
  const pictures = files.filter((file) => file.type === "image/jpeg" || file.type === "image/png");
  if (pictures.length !== files.length && files.length > 1) {
    problem("files", "Choose one clip, or JPEG or PNG frames of one clip, but not both and no other files.");
  } else if (pictures.length > MOST_FRAMES) {
    problem("files", `${pictures.length} frames were chosen; at most ${MOST_FRAMES} are taken.`);
  } else {
    const order = new Intl.Collator("en", { numeric: true });
    chosen =
      pictures.length > 0
        ? { frames: pictures.toSorted((a, b) => order.compare(a.name, b.name)) }
        : { clip: files[0] };
    problem("files", "");
  }
  showChosen();
}

function showChosen() {
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
  const address = (file) => {
    addresses.push(URL.createObjectURL(file));
    return addresses.at(-1);
  };
  const box = byId("chosen");
  box.hidden = chosen === null;
  byId("remove").hidden = chosen === null;
  byId("files-hint").hidden = chosen !== null;
  byId("picker-text").textContent = chosen === null ? "Choose files" : "Choose others";
  if (chosen?.clip) {
    const film = element("video", {
      src: address(chosen.clip),
      controls: true,
      muted: true,
      playsinline: true,
      preload: "metadata",
      "aria-label": "The chosen clip",
    });
    // The server reads formats that this browser does not.
    film.addEventListener("error", () => film.remove());
    box.replaceChildren(film, element("p", {}, outside(chosen.clip.name), ` ${bytes(chosen.clip.size)}`));
  } else if (chosen?.frames) {
    const total = chosen.frames.reduce((sum, file) => sum + file.size, 0);
    box.replaceChildren(
      element(
        "ol",
        { class: "strip", vars: { "--columns": Math.min(chosen.frames.length, 6) } },
        chosen.frames.map((file, index) =>
          element(
            "li",
            {},
            element("img", { src: address(file), alt: "" }),
            element("span", { class: "name", title: printable(file.name) }, `#${index + 1} `, outside(file.name)),
          ),
        ),
      ),
      element("p", {}, `${chosen.frames.length} ${chosen.frames.length === 1 ? "frame" : "frames"}, ${bytes(total)}`),
    );
  } else {
    box.replaceChildren();
  }
}

/** Says what is wrong with a field, or that nothing is. */
function problem(field, text) {
  const line = byId(`${field}-problem`);
  line.textContent = text;
  line.hidden = text === "";
  if (text === "") byId(field).removeAttribute("aria-invalid");
  else byId(field).setAttribute("aria-invalid", "true");
}

byId("files").addEventListener("change", (event) => {
  choose([...event.target.files]);
  // The same file can then be chosen again, such as after it was mended.
  event.target.value = "";
});
byId("remove").addEventListener("click", () => {
  chosen = null;
  showChosen();
  byId("files").focus();
});
byId("caption").addEventListener("input", () => problem("caption", ""));
byId("caption").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("judge").requestSubmit();
});

// A file dropped beside the field would otherwise replace the page.
let inside = 0;
const marks = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener(
  "dragenter",
  (event) => marks(event) && byId("drop").classList.toggle("over", ++inside > 0),
);
document.addEventListener(
  "dragleave",
  (event) => marks(event) && byId("drop").classList.toggle("over", --inside > 0),
);
document.addEventListener("dragover", (event) => marks(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!marks(event)) return;
  event.preventDefault();
  inside = 0;
  byId("drop").classList.remove("over");
  choose([...event.dataTransfer.files]);
});

// ---- Asking

/** Shows a state; `idle`, `uploading`, `judging`, `busy`, `key`, `error` and `done` are all there are. */
function state(name, text = "", progress = null) {
  byId("state").dataset.state = name;
  if (byId("status").textContent !== text) byId("status").textContent = text;
  byId("clock").textContent = "";
  const working = ["uploading", "judging", "busy"].includes(name);
  byId("go").setAttribute("aria-disabled", working ? "true" : "false");
  const [stop, now] = [byId("stop"), byId("now")];
  const focused = document.activeElement;
  stop.hidden = !working;
  now.hidden = name !== "busy";
  // Whoever pressed a button that goes away would have to start over at the top of the page.
  if ([stop, now].includes(focused) && focused.hidden) byId(working ? "stop" : "go").focus();
  const bar = byId("progress");
  bar.hidden = name !== "uploading" && name !== "judging";
  bar.setAttribute("aria-label", name === "uploading" ? "Upload" : "Judging");
  if (progress === null) bar.removeAttribute("value");
  else bar.value = progress;
  for (const box of ["trouble", "key-trouble"]) byId(box).replaceChildren();
}

/** Shows a message as it came, and what to do about it. */
function trouble(message, advice, box = "trouble") {
  byId(box).replaceChildren(
    element(
      "div",
      { class: "notice reject" },
      element("p", {}, outside(message)),
      advice && element("p", { class: "hint" }, advice),
    ),
  );
}

async function request() {
  const caption = byId("caption").value;
  if (chosen.clip) {
    const form = new FormData();
    form.set("caption", caption);
    form.set("pictures", "true");
    form.set("clip", chosen.clip, "clip");
    return { body: form };
  }
  const frames = await Promise.all(chosen.frames.map(dataAddress));
  return { type: "application/json", body: JSON.stringify({ caption, frames, pictures: true }) };
}

function dataAddress(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () =>
      reject(new NoAnswer(`${file.name} could not be read: it was moved or changed. Choose it again.`)),
    );
    reader.readAsDataURL(file);
  });
}

async function judge() {
  if (work !== null) return;
  problem("files", chosen === null ? "Choose a clip, or frames of one." : "");
  problem("caption", byId("caption").value.trim() === "" ? "Say what the clip shows." : "");
  const missing = document.querySelector("#judge [aria-invalid]");
  if (missing !== null) {
    missing.focus();
    return;
  }
  waitsForKey = false;
  const stop = new AbortController();
  work = stop;
  // An older verdict must not be taken for the one that is asked for now; the list still has it.
  byId("result").hidden = true;
  state("uploading", "Uploading.", 0);
  try {
    const asked = await request();
    let answer = null;
    while (answer === null) {
      try {
        answer = await once(asked, stop.signal);
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 429) throw error;
        await pause(error, stop.signal);
      }
    }
    showResult(answer);
    refresh();
  } catch (error) {
    waitsForKey = error instanceof Refusal && error.status === 401;
    failed(error);
  } finally {
    work = null;
  }
}

function once(asked, signal) {
  state("uploading", "Uploading.", 0);
  return askJson("v1/score", {
    method: "POST",
    ...asked,
    signal,
    onUpload: (part) => {
      byId("progress").value = part;
      byId("clock").textContent = `${Math.round(part * 100)} %`;
    },
    onSent: () => state("judging", "Judging."),
  });
}

/** Waits as long as the server asks for, or until "Ask now". */
function pause(refusal, signal) {
  const end = performance.now() + refusal.retryAfter * 1000;
  state("busy", `${printable(refusal.message)} It is asked again by itself.`);
  return new Promise((resolve, reject) => {
    const left = () => Math.max(0, Math.ceil((end - performance.now()) / 1000));
    const tick = () => {
      byId("clock").textContent = `again in ${left()} s`;
      if (left() === 0) finish(resolve);
    };
    const beat = setInterval(tick, 250);
    const now = () => finish(resolve);
    const stopped = () => finish(() => reject(new DOMException("stopped", "AbortError")));
    const finish = (settle) => {
      clearInterval(beat);
      byId("now").removeEventListener("click", now);
      signal.removeEventListener("abort", stopped);
      settle();
    };
    byId("now").addEventListener("click", now);
    signal.addEventListener("abort", stopped);
    tick();
  });
}

/** Says what went wrong, and what to do. */
function failed(error) {
  if (error.name === "AbortError") {
    state("idle", "Stopped.");
  } else if (error instanceof Refusal && error.status === 401) {
    askForKey(error.message);
  } else if (error instanceof Refusal) {
    state("error", "Not judged.");
    trouble(error.message, ADVICE[error.status]);
  } else if (error instanceof NoAnswer) {
    state("error", "Not judged.");
    trouble(
      error.message,
      "See whether nexis serve still runs and the file is not larger than it takes, then judge again.",
    );
  } else {
    state("error", "Not judged.");
    trouble(`This page has a defect: ${error.message}`, "Reload it, and report what the browser's console says.");
    throw error;
  }
}

byId("judge").addEventListener("submit", (event) => {
  event.preventDefault();
  judge();
});
byId("stop").addEventListener("click", () => work?.abort());

// ---- What came of it

function showResult(result) {
  keepPictures(result);
  const words = { accept: "Accepted", reject: "Rejected", inconclusive: "Could not be checked" };
  state("done", `${words[result.verdict] ?? printable(result.verdict)}: see below.`);
  byId("result-title").replaceChildren("Verdict ", badge(result.verdict));
  byId("result-body").replaceChildren(
    ...[verdictView(result), evidenceLine(result.id)]
      .flat(Infinity)
      .filter((child) => child !== null && child !== false && child !== undefined),
  );
  byId("result").hidden = false;
  byId("result").dataset.verdict = result.verdict;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId("result").scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

// ---- Key and model

function askForKey(message) {
  state("key", "A key is needed: enter it above.");
  trouble(message, null, "key-trouble");
  byId("key-panel").open = true;
  byId("key").focus();
}

byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!useKey(byId("key").value.trim())) {
    trouble("A key has no spaces and only characters of ASCII.", "Enter it again.", "key-trouble");
    return;
  }
  state("idle");
  if (await showModel()) {
    refresh();
    if (waitsForKey) judge();
  }
});

/** Shows which model judges; false where the server did not say. */
async function showModel() {
  try {
    const [model] = (await askJson("v1/models")).data;
    byId("facts").replaceChildren(factList(environmentFacts(model.environment)));
    const notice = byId("notice");
    const said = model.notice ?? (model.demonstration ? "This is a demonstration model." : null);
    notice.hidden = said === null;
    notice.replaceChildren(element("strong", {}, "Notice."), " ", outside(said ?? ""));
    return true;
  } catch (error) {
    failed(error);
    return false;
  }
}

if (await showModel()) refresh();
