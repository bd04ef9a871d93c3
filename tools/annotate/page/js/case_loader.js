/** Opening a case: events first, then the CT and the masks, the current slice before the others. */
import { Refused } from "./api.js";
import { $ } from "./dom.js";
import { Events } from "./events.js";
import { slabsFrom } from "./image.js";

const FIRST_BLOCK = 8;
const BLOCK = 64;

export class CaseLoader {
  constructor(app) {
    this.app = app;
    app.store.on("editor", () => this.#claim());
    app.queue.on("lost", (error) => {
      this.#lost(error);
      this.events.open();
    });
    document.addEventListener("visibilitychange", () => this.#claim());
  }

  /** The case of the address, or the one that the server names, or the first. */
  async start() {
    const { cases, current } = await this.app.workList.load();
    const wanted = decodeURIComponent(location.hash.replace(/^#case=/, ""));
    const known = cases.map((row) => row.case);
    const key = [wanted, current].find((candidate) => known.includes(candidate)) ?? known[0];
    if (key === undefined) this.app.tell("There is no case here.", "error");
    else await this.open(key);
  }

  async open(key) {
    const { app } = this;
    if (app.queue.length && !app.store.youEdit) return app.tell("Changes of this page still wait: take over first.");
    app.pointer.leave();
    if (app.queue.length) app.say("Waiting until all changes are saved …");
    await app.queue.idle();
    this.events?.close();
    app.pointer.cancel();
    app.assist.clear();
    app.image.stop();
    app.store.leave(); // what is still on the screen is the case before: no stroke on it may go to the new one
    app.api.case = key;
    document.body.classList.add("opening");
    $("#case-name").textContent = key;
    app.workList.draw();
    app.say(`Opening ${key} …`);
    history.replaceState(null, "", app.workList.cases.length > 1 ? `/#case=${encodeURIComponent(key)}` : "/");
    const { store } = app;
    let first = true;
    this.events = new Events(
      app.api,
      {
        state: (state) => {
          store.reset(state);
          if (first) this.loading = this.#begin();
          else this.loading.then(() => this.#loadPixels()).catch((error) => this.#failed(error));
          first = false;
          for (const notice of store.notices) app.tell(notice.text ?? notice);
          app.status.renew();
          this.#claim().then(() => app.queue.resume());
        },
        changed: (changed) => store.apply(changed),
        progress: (progress) => store.setProgress(progress),
        suggestion: ({ suggestion }) => store.setSuggestion(suggestion),
        editor: (editor) => store.setEditor(editor),
        notice: ({ text, level }) => app.tell(text, level),
      },
      {
        connection: (connected) => app.status.setConnected(connected),
        refused: (error) => this.#lost(error),
      },
    );
    this.events.open();
  }

  async #begin() {
    const { app } = this;
    const { store, view, image } = app;
    document.body.classList.remove("opening");
    $("#case-name").textContent = store.name;
    $("#case-name").title = store.name;
    document.title = `${store.name} · Keyslice`;
    const { label, ...place } = this.#place();
    if (store.labels.has(label)) app.settings.chooseLabel(label);
    app.lookAt(place);
    const ct = image.load(view.z);
    try {
      await Promise.all([ct, this.#loadPixels()]);
    } catch (error) {
      this.#failed(error);
    }
    app.redraw("all");
    app.isReady();
  }

  /** Where the person was, else the middle one of the key slices, else the middle. */
  #place() {
    const { store } = this.app;
    const keys = [...store.slices.keys()].sort((a, b) => a - b);
    const middle = { z: keys[keys.length >> 1] ?? store.depth >> 1, y: store.height >> 1, x: store.width >> 1 };
    try {
      return { ...middle, ...JSON.parse(sessionStorage.getItem(`keyslice.view.${store.case}`)) };
    } catch {
      return middle; // what was kept is unreadable
    }
  }

  /** Pixels of all slices that say something. */
  async #loadPixels() {
    const { store, view, api } = this.app;
    const key = store.case;
    for (const { first, count } of slabsFrom(view.z, store.depth, FIRST_BLOCK, BLOCK)) {
      const some = [...store.slices.keys(), ...store.proposals.keys()].some((z) => z >= first && z < first + count);
      const pixels = some && (await api.pixels(first, count));
      if (store.case !== key) return; // another case was opened meanwhile
      if (pixels) store.putPixels(first, pixels);
    }
  }

  /** Nobody edits: a page that is looked at may. A refusal means that another page was quicker. */
  async #claim() {
    const { store, api } = this.app;
    if (!store.case || store.editor !== null || document.hidden) return;
    await api.post("editor", { take: true }).catch(() => {});
  }

  #lost(error) {
    if (!(error instanceof Refused)) return;
    if (error.status === 401) this.app.status.end();
    else if (!this.app.store.case) this.app.tell(`Not opened: ${error.message}`, "error");
  }

  #failed(error) {
    if (error.status === 401) this.#lost(error);
    else this.app.tell(error.message, "error");
  }
}
