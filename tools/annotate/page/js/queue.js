/**
 * Edits on their way to the server: one at a time, in order. An edit is kept until the server has answered it. When
 * nothing answers, the page makes itself known again (`resume` tells that it did) and sends it once more. The server
 * knows by its `id` if it has done it already, also one that was started anew.
 * If another page has come to edit meanwhile, they wait until this one edits again; one that was refused for that
 * reason, before this page had heard of it, as well.
 *
 * Emits "change" (something was added, sent or dropped; offline came or went), "done" (body, answer), "refused" (error, edit)
 * and "lost" (the page has to make itself known again).
 */
import { Refused } from "./api.js";
import { Emitter } from "./emitter.js";

const RETRY_MS = [200, 500, 1000, 2000];
const KNOWN_MS = 3000; // for the server's first event, before the page connects anew
const KEEP = [401, 503]; // another token, or too busy: the edit itself was not looked at

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class EditQueue extends Emitter {
  constructor(api, store) {
    super();
    this.api = api;
    this.store = store;
    this.waiting = [];
    this.count = 0;
    this.offline = false;
    this.idleCalls = [];
    this.editCalls = [];
    this.resume = () => {};
    this.news = 0; // of who edits
    store.on("editor reset", () => {
      this.news++;
      if (store.youEdit) for (const resolve of this.editCalls.splice(0)) resolve();
    });
  }

  get length() {
    return this.waiting.length;
  }

  /**
   * Send an edit; a slice's own edits are seen at once.
   * @returns a promise of the answer, null if it was refused (which was told then)
   */
  push(body) {
    const edit = { body: { id: `${++this.count}-${Date.now()}`, ...body } };
    edit.answered = new Promise((resolve) => (edit.resolve = resolve));
    this.waiting.push(edit);
    this.store.addPending(edit);
    this.emit("change");
    if (this.waiting.length === 1) this.#send();
    return edit.answered;
  }

  /** Resolves when everything has been answered. */
  idle() {
    return this.waiting.length ? new Promise((resolve) => this.idleCalls.push(resolve)) : Promise.resolve();
  }

  async #send() {
    while (this.waiting.length) {
      if (!this.store.youEdit) {
        this.#setOffline(false);
        await new Promise((resolve) => this.editCalls.push(resolve));
      }
      const edit = this.waiting[0];
      const news = this.news;
      try {
        const answer = await this.api.post("edit", edit.body);
        this.#setOffline(false);
        this.waiting.shift();
        this.store.pending = this.store.pending.filter((other) => other !== edit);
        this.store.apply(answer.changed);
        this.#finish(edit, answer);
        this.emit("done", { body: edit.body, answer });
      } catch (error) {
        if (error.reason === "watching") {
          this.#setOffline(false);
          // Unless it was heard meanwhile, the event that tells who edits is still to come.
          if (this.news === news) this.store.setEditor({ editor: this.store.editor, you_edit: false });
          this.emit("change");
        } else if (error instanceof Refused && !KEEP.includes(error.status)) {
          this.#setOffline(false);
          this.waiting.shift();
          this.#finish(edit, null);
          this.emit("refused", { error, edit });
        } else {
          await this.#reconnect(error);
        }
      }
    }
    for (const resolve of this.idleCalls.splice(0)) resolve();
  }

  /** Until the server knows the page: before that it would refuse what comes from it. */
  async #reconnect(error) {
    this.#setOffline(true);
    for (let tries = 0, known = false; !known; tries++) {
      await pause(RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
      const resumed = new Promise((resolve) => (this.resume = () => resolve(true)));
      this.emit("lost", error);
      known = await Promise.race([resumed, pause(KNOWN_MS)]);
    }
  }

  #finish(edit, answer) {
    this.store.removePending(edit);
    edit.resolve(answer);
    this.emit("change");
  }

  #setOffline(offline) {
    if (this.offline === offline) return;
    this.offline = offline;
    this.emit("change");
  }
}
