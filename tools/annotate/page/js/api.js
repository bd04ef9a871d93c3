/** Requests to the server. */

/** What the server refused; `message` is a sentence for the person. */
export class Refused extends Error {
  constructor(status, error = {}) {
    const { found = `the server answered ${status}`, expected, fix } = error;
    super([found, expected && `expected ${expected}`, fix].filter(Boolean).join("; "));
    this.status = status;
    this.reason = error.reason;
  }
}

/** No answer came; the request may be sent again. */
export class Unreachable extends Error {}

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    throw new Unreachable(error.message);
  }
  if (answer.ok) return answer;
  let told = {};
  try {
    told = (await answer.json()).error;
  } catch {
    // A refusal without a reason: the status has to do.
  }
  throw new Refused(answer.status, told);
}

async function body(answer, read) {
  try {
    return await answer[read]();
  } catch (error) {
    throw new Unreachable(error.message); // cut off half-way
  }
}

export class Api {
  /** @param {string} client name of this page for the server */
  constructor(client) {
    this.client = client;
    this.case = null;
  }

  url(path) {
    return `/api/cases/${encodeURIComponent(this.case)}/${path}`;
  }

  async worklist() {
    return body(await request("/api/worklist"), "json");
  }

  /** All about the case but pixels. */
  async state() {
    return body(await request(this.url("").slice(0, -1)), "json");
  }

  /** int16 voxels of slices first..first+count-1. */
  async image(first, count) {
    const answer = await request(this.url(`image?first=${first}&count=${count}`));
    return new Int16Array(await body(answer, "arrayBuffer"));
  }

  /** Run-length codes, two a slice (given, proposal), and the serial that they belong to. */
  async pixels(first, count) {
    const answer = await request(this.url(`pixels?first=${first}&count=${count}`));
    const serial = Number(answer.headers.get("X-Keyslice-Serial") ?? 0);
    return { serial, buffer: await body(answer, "arrayBuffer") };
  }

  /** POST a JSON body, which says which page it comes from. */
  async post(path, content = {}, timeout = 30_000) {
    const answer = await request(this.url(path), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ client: this.client, ...content }),
      signal: AbortSignal.timeout(timeout),
    });
    return body(answer, "json");
  }

  async importFile(file, as, slices) {
    const query = new URLSearchParams({ as, client: this.client });
    if (slices) query.set("slices", slices);
    const answer = await request(this.url(`import?${query}`), {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream", "X-Filename": encodeURIComponent(file.name) },
      body: file,
    });
    return body(answer, "json");
  }

  async markDone(key, done) {
    await request(`/api/cases/${encodeURIComponent(key)}/done`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ client: this.client, done }),
    });
  }
}

/**
 * A name for this page that a reload keeps, so that who edits goes on editing, but that no second page shares:
 * a copied tab brings the name along, and finds it taken.
 */
export async function clientName() {
  const fresh = () => `page-${[...crypto.getRandomValues(new Uint8Array(9))].map((b) => b.toString(36)).join("")}`;
  const kept = sessionStorage.getItem("keyslice.client");
  const hold = (name) =>
    new Promise((resolve) => {
      navigator.locks.request(`keyslice.${name}`, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        return lock ? new Promise(() => {}) : undefined; // held as long as the page is there
      });
    });
  const name = kept && navigator.locks && (await hold(kept)) ? kept : fresh();
  if (name !== kept && navigator.locks) await hold(name);
  sessionStorage.setItem("keyslice.client", name);
  return name;
}
