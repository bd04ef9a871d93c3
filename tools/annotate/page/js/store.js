/**
 * The case as the server says it is, and what is to be seen of it: the server's slices with this page's
 * unanswered edits done to them.
 *
 * Emits: "reset" (another state altogether), "slice" (z), "head" (labels, extents, undo, ...), "suggestion",
 * "running", "ended" (what ran has, and how), "editor".
 */
import { Emitter } from "./emitter.js";
import { decodeBase64, decodeRle, readBlocks } from "./rle.js";
import { applyEdit, copySlice, emptySlice, shownProposal } from "./slice_edits.js";

const numbered = (object) => new Map(Object.entries(object ?? {}).map(([key, value]) => [Number(key), value]));

export class Store extends Emitter {
  constructor() {
    super();
    this.labels = new Map();
    this.slices = new Map();
    this.proposals = new Map();
    this.pending = [];
    this.locked = new Set();
    this.youEdit = false;
  }

  /** No case any more until the next `reset`: nothing can be edited. */
  leave() {
    this.case = null;
    this.youEdit = false;
    this.emit("editor");
  }

  /** Everything but pixels, which follow by `putPixels`. */
  reset(state) {
    const sameCase = this.case === state.case;
    const was = sameCase && this.running;
    this.case = state.case;
    this.name = state.name ?? state.case;
    [this.depth, this.height, this.width] = state.shape;
    this.size = this.height * this.width;
    this.spacing = state.spacing;
    this.letters = state.letters;
    this.hu = state.hu;
    this.models = state.models ?? [];
    this.notices = state.notices ?? [];
    const [slices, proposals] = [this.slices, this.proposals];
    this.serials = new Float64Array(this.depth);
    this.headSerial = -1;
    this.local = new Map();
    this.slices = new Map();
    this.proposals = new Map();
    if (!sameCase) this.pending = [];
    // What was seen stays until its pixels are there again.
    for (const [z, slice] of numbered(state.slices)) this.#putGiven(z, slice, sameCase && slices.get(z)?.given);
    for (const [z, proposal] of numbered(state.proposals)) {
      const known = sameCase && proposals.get(z);
      this.proposals.set(z, { pixels: known ? known.pixels : null, confidence: numbered(proposal.confidence) });
    }
    this.suggestion = state.suggestion ?? null;
    this.#setRunning(state.running, state.progress);
    this.editor = state.editor;
    this.youEdit = Boolean(state.you_edit);
    this.#applyHead(state);
    this.emit("reset");
    if (was && !this.running) this.emit("ended", { was, ended: "unseen" });
  }

  /** What has changed, from an event or from the answer to an edit: they may come in either order, or twice. */
  apply(changed) {
    const serial = changed.serial ?? 0;
    const seen = new Set();
    for (const [z, slice] of numbered(changed.slices)) {
      if (serial < this.serials[z]) continue;
      if (slice) this.#putGiven(z, slice, slice.given ? decodeBase64(slice.given, this.size) : new Uint8Array(this.size));
      else this.slices.delete(z);
      seen.add(z);
    }
    for (const [z, proposal] of numbered(changed.proposals)) {
      if (serial < this.serials[z]) continue;
      if (proposal) {
        const pixels = decodeBase64(proposal.pixels, this.size);
        this.proposals.set(z, { pixels, confidence: numbered(proposal.confidence) });
      } else this.proposals.delete(z);
      seen.add(z);
    }
    for (const z of seen) {
      this.serials[z] = serial;
      this.local.delete(z);
      this.emit("slice", z);
    }
    if (serial >= this.headSerial) {
      this.headSerial = serial;
      this.#applyHead(changed);
    }
  }

  #applyHead(head) {
    if (head.revision !== undefined) this.revision = head.revision;
    if (head.labels) {
      this.labels = new Map(head.labels.map((label) => [label.value, label]));
      this.locked = new Set(head.labels.filter((label) => label.locked).map((label) => label.value));
    }
    if (head.extents) this.extents = numbered(head.extents);
    if (head.models) this.models = head.models;
    if (head.rejected) this.rejected = new Set(head.rejected);
    if (head.undo !== undefined) this.undo = head.undo?.title ?? null;
    if (head.redo !== undefined) this.redo = head.redo?.title ?? null;
    this.emit("head");
  }

  #putGiven(z, slice, given) {
    const absent = new Set(slice.absent);
    const speaks = new Set([...slice.labels, ...slice.absent]);
    this.slices.set(z, { given: given || new Uint8Array(this.size), speaks, absent, complete: slice.complete, kind: slice.kind });
  }

  /** Pixels of slices from `first` on, as `/pixels` sends them. */
  putPixels(first, { serial, buffer }) {
    const blocks = readBlocks(buffer);
    for (let k = 0; 2 * k < blocks.length; k++) {
      const z = first + k;
      if (serial < this.serials[z]) continue; // something newer has come by an event
      const [slice, proposal] = [this.slices.get(z), this.proposals.get(z)];
      if (slice) slice.given = decodeRle(blocks[2 * k], this.size);
      if (proposal) proposal.pixels = decodeRle(blocks[2 * k + 1], this.size);
      if (!slice && !proposal) continue;
      this.local.delete(z);
      this.emit("slice", z);
    }
  }

  // What this page has said and the server has not answered yet.

  addPending(edit) {
    this.pending.push(edit);
    if (edit.body.z !== undefined) this.touch(edit.body.z);
  }

  removePending(edit) {
    this.pending = this.pending.filter((other) => other !== edit);
    if (edit.body.z !== undefined) this.touch(edit.body.z);
  }

  /** Work slice `z` out again and show it. */
  touch(z) {
    this.local.delete(z);
    this.emit("slice", z);
  }

  /** The slice as it is to be seen, with unanswered edits done; null if it says nothing. Not to be changed. */
  slice(z) {
    if (!this.local.has(z)) {
      const edits = this.pending.filter((edit) => edit.body.z === z);
      let slice = this.slices.get(z) ?? null;
      if (edits.length) {
        slice = slice && copySlice(slice);
        for (const { body } of edits) {
          slice = applyEdit(slice ?? emptySlice(this.size), this.proposal(z), body, this.locked);
        }
      }
      this.local.set(z, slice);
    }
    return this.local.get(z);
  }

  /** A copy of the slice for a stroke to work on; it is what is seen until the stroke is dropped or sent. */
  beginStroke(z) {
    const slice = this.slice(z);
    const copy = slice ? copySlice(slice) : emptySlice(this.size);
    this.local.set(z, copy);
    return copy;
  }

  /** Proposed labels of slice `z`, or null. */
  proposal(z) {
    const dropped = this.rejected.has(z) || this.pending.some((e) => e.body.action === "reject" && e.body.z === z);
    return dropped ? null : (this.proposals.get(z)?.pixels ?? null);
  }

  /** The label that is seen at pixel `i` of slice `z`, or 0. */
  shown(z, i) {
    const [slice, proposal] = [this.slice(z), this.proposal(z)];
    return slice ? slice.given[i] || shownProposal(slice, proposal, i) : (proposal?.[i] ?? 0);
  }

  // How things stand.

  #setRunning(running, progress) {
    this.running = running || null;
    this.progress = progress ?? null;
  }

  /** `ended` tells of what ran how it ended: "done", "stopped" or "failed"; "unseen" if a reset came instead. */
  setProgress({ done, total, running, ended }) {
    const was = this.running;
    this.#setRunning(running, { done, total });
    this.emit("running");
    if (was && ended) this.emit("ended", { was, ended });
  }

  setSuggestion(suggestion) {
    this.suggestion = suggestion ?? null;
    this.emit("suggestion");
  }

  setEditor({ editor, you_edit }) {
    this.editor = editor;
    this.youEdit = Boolean(you_edit);
    this.emit("editor");
  }

  /** Confidence of `label` on slice `z` (null: the lowest of its labels), or null where there is none. */
  confidence(z, label = null) {
    const all = this.proposals.get(z)?.confidence;
    if (!all || this.rejected.has(z)) return null;
    if (label !== null) return all.get(label) ?? null;
    return all.size ? Math.min(...all.values()) : null;
  }

  /** "key", "accepted", "automatic", "imported", "proposed", "rejected" or "none". */
  sliceState(z) {
    const kind = this.slices.get(z)?.kind;
    if (kind) return kind === "painted" ? "key" : kind;
    if (this.rejected.has(z)) return "rejected";
    return this.proposals.has(z) ? "proposed" : "none";
  }
}
