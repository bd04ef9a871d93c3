/** A stroke of brush, eraser or threshold brush: seen while it is drawn, sent when it ends. */
import { disc, sweep } from "./raster.js";
import { runsOf } from "./rle.js";
import { adopt, applyEdit, erasePixel, paintPixel } from "./slice_edits.js";

export class Stroke {
  /**
   * @param label the label to paint; with `erase` the only one to erase, null for all
   * @param keep tells of a pixel's index whether the stroke takes it (the threshold brush's HU range)
   */
  constructor(store, { z, label, erase, radius, keep }) {
    Object.assign(this, { store, z, label, erase, keep });
    this.offsets = disc(radius);
    this.pixels = new Uint8Array(store.size);
    this.slice = store.beginStroke(z);
    this.proposal = store.proposal(z);
    if (!erase) adopt(this.slice, this.proposal, label);
  }

  /** Draw on to pixel `to` ({x, y}). */
  to(to) {
    const { slice, proposal, label, store, pixels, keep } = this;
    const edit = this.erase ? erasePixel : paintPixel;
    sweep(this.offsets, this.at ?? to, to, store.width, store.height, (i) => {
      if (pixels[i] || (keep && !keep(i))) return;
      pixels[i] = 1;
      edit(slice, proposal, label, store.locked, i);
    });
    this.at = to;
  }

  /** The slice below has changed: draw the stroke again on what it is now. */
  rebase() {
    this.slice = this.store.beginStroke(this.z);
    this.proposal = this.store.proposal(this.z);
    applyEdit(this.slice, this.proposal, this.body(), this.store.locked);
  }

  body() {
    return { action: this.erase ? "erase" : "paint", z: this.z, label: this.label, runs: runsOf(this.pixels) };
  }

  /** Hand the stroke over; nothing is sent if it took no pixel. */
  finish(queue) {
    const body = this.body();
    if (body.runs.length) queue.push(body);
    else this.drop();
  }

  drop() {
    this.store.touch(this.z);
  }
}
