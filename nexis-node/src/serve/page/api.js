// Requests to the server that gave this page. The key lives in this module's memory alone.

let key = "";

/** Takes the key for later requests; false where it cannot stand in a header. */
export function useKey(text) {
  if (!/^[\x21-\x7e]*$/.test(text)) return false;
  key = text;
  return true;
}

/** The server could not be asked, or its answer did not come whole. */
export class NoAnswer extends Error {}

/** The server refused; `message` is its own. */
export class Refusal extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Asks the server and gives its answer as text. `onUpload(share)` hears how much of the body is sent, `onSent()` that
 * all of it is.
 *
 * XMLHttpRequest, because `fetch` does not tell how far an upload is.
 */
export function ask(
  path,
  { method = "GET", body = null, type = null, signal = null, onUpload = null, onSent = null } = {},
) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, new URL(path, document.baseURI));
    if (type !== null) request.setRequestHeader("Content-Type", type);
    if (key !== "") request.setRequestHeader("Authorization", `Bearer ${key}`);
    if (onUpload !== null) {
      request.upload.addEventListener("progress", (event) =>
        onUpload(event.total > 0 ? event.loaded / event.total : 0),
      );
    }
    if (onSent !== null) request.upload.addEventListener("load", () => onSent());
    request.addEventListener("load", () => {
      if (request.status >= 200 && request.status < 300) resolve(request.responseText);
      else reject(new Refusal(request.status, message(request), retryAfter(request)));
    });
    request.addEventListener("error", () => reject(new NoAnswer("The server did not answer.")));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** As `ask`, with the answer read as JSON. */
export async function askJson(path, options) {
  const text = await ask(path, options);
  try {
    return JSON.parse(text);
  } catch {
    throw new NoAnswer("The server's answer is not JSON.");
  }
}

function message(request) {
  try {
    const said = JSON.parse(request.responseText).error.message;
    if (typeof said === "string" && said !== "") return said;
  } catch {
    // Whatever stands between the server and this page may answer in another shape.
  }
  return `HTTP ${request.status} ${request.statusText}`.trim();
}

function retryAfter(request) {
  const seconds = Number(request.getResponseHeader("Retry-After"));
  return Number.isFinite(seconds) && seconds >= 1 ? Math.min(Math.ceil(seconds), 3600) : 1;
}
