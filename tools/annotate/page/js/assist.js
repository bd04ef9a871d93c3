/**
 * Assisted painting: the server makes a mask of a click, scribbles or a box; it is shown, and counts when it is
 * applied.
 *
 * Emits "change" (a preview came or went) and "failed" (error).
 */
import { outlines } from "./contour.js";
import { Emitter } from "./emitter.js";
import { css } from "./mask_painter.js";
import { disc, sweep } from "./raster.js";
import { maskOf, runsOf } from "./rle.js";

/** Whether an area touches the edge of the slice: what was to be filled is open then. */
function reachesBorder(runs, { width, height }) {
  for (let k = 0; k < runs.length; k += 2) {
    const [first, last] = [runs[k], runs[k] + runs[k + 1] - 1];
    if (first < width || last >= width * (height - 1) || first % width === 0 || last % width === width - 1) return true;
  }
  return false;
}

export class Assist extends Emitter {
  constructor({ api, store, queue, settings }) {
    super();
    Object.assign(this, { api, store, queue, settings });
    this.number = 0;
    this.clear();
  }

  clear() {
    this.number++; // an answer still under way is no longer wanted
    this.preview = null;
    this.asked = null;
    this.scribbles = null;
    this.busy = false;
    this.emit("change");
  }

  /** Ask for a mask on slice `z`; `now` paints it at once, for what the person outlined fully. */
  async ask(z, tool, parameters, { now = false } = {}) {
    const mine = ++this.number;
    const label = this.settings.label;
    this.asked = { z, tool, parameters };
    this.busy = true;
    this.emit("change");
    try {
      await this.queue.idle(); // the server has to know the strokes that the mask builds on
      if (mine !== this.number) return;
      const { runs, pixels } = await this.api.post("assist", { tool, z, ...parameters });
      if (mine !== this.number) return;
      this.busy = false;
      if (now) {
        this.clear();
        if (tool === "fill" && reachesBorder(runs, this.store)) {
          this.emit("failed", new Error("No closed outline there: nothing was filled."));
        } else if (pixels) this.queue.push({ action: "paint", z, label, runs });
        return;
      }
      const { width, height, size } = this.store;
      this.preview = { z, label, runs, pixels, path: outlines(maskOf(runs, size), width, height).get(1) ?? new Path2D() };
      this.emit("change");
    } catch (error) {
      if (mine !== this.number) return;
      this.busy = false;
      this.emit("change");
      this.emit("failed", error);
    }
  }

  wand(z, at) {
    this.ask(z, "wand", { seed: [at.y, at.x], tolerance: this.settings.tolerance });
  }

  /** The wand's tolerance was moved: the same click again. */
  again() {
    if (this.asked?.tool === "wand" && this.preview) {
      this.ask(this.asked.z, "wand", { ...this.asked.parameters, tolerance: this.settings.tolerance });
    }
  }

  /** Draw a scribble on to pixel `to`. */
  scribble(z, from, to, side) {
    if (this.scribbles?.z !== z) {
      const { size } = this.store;
      this.scribbles = { z, inside: new Uint8Array(size), outside: new Uint8Array(size) };
    }
    const other = this.scribbles[side === "inside" ? "outside" : "inside"];
    const mask = this.scribbles[side];
    sweep(disc(1), from, to, this.store.width, this.store.height, (i) => {
      mask[i] = 1;
      other[i] = 0;
    });
  }

  askScribbles() {
    const { z, inside, outside } = this.scribbles;
    if (inside.includes(1)) this.ask(z, "scribble", { inside: runsOf(inside), outside: runsOf(outside) });
  }

  /** Paint what is shown. */
  apply() {
    if (!this.preview) return;
    const { z, label, runs } = this.preview;
    this.clear();
    if (runs.length) this.queue.push({ action: "paint", z, label, runs });
  }

  /** Draw preview and scribbles of slice `z`. */
  draw(ctx, matrix, unit, z) {
    if (this.scribbles?.z === z) this.#drawScribbles(ctx, matrix, unit);
    if (this.preview?.z !== z) return;
    const color = this.store.labels.get(this.preview.label)?.color ?? [255, 255, 255];
    const path = new Path2D();
    path.addPath(this.preview.path, matrix);
    ctx.fillStyle = css(color, 0.45);
    ctx.fill(path, "evenodd");
    ctx.lineWidth = 3.5 * unit;
    ctx.strokeStyle = "rgba(0, 0, 0, 0.8)";
    ctx.stroke(path);
    ctx.lineWidth = 1.5 * unit;
    ctx.strokeStyle = "#fff";
    ctx.setLineDash([2 * unit, 3 * unit]);
    ctx.stroke(path);
    ctx.setLineDash([]);
  }

  #drawScribbles(ctx, matrix, unit) {
    const { width, height } = this.store;
    for (const [side, colour] of [["inside", "#7fe08a"], ["outside", "#ff8f6b"]]) {
      const path = new Path2D();
      for (const outline of outlines(this.scribbles[side], width, height).values()) path.addPath(outline, matrix);
      ctx.fillStyle = colour;
      ctx.fill(path, "evenodd");
      ctx.lineWidth = unit;
      ctx.strokeStyle = "#000";
      if (side === "outside") ctx.setLineDash([3 * unit, 2 * unit]);
      ctx.stroke(path);
    }
    ctx.setLineDash([]);
  }
}
