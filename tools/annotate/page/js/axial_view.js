/** The axial plane: the slice in the window, its masks, and on a second canvas what follows the pointer. */
import { outlines } from "./contour.js";
import { paintMasks } from "./mask_painter.js";
import { shownProposal } from "./slice_edits.js";
import { Viewport } from "./viewport.js";

export class AxialView {
  /**
   * @param view what is looked at: {z, cursor, window, opacity, smooth, showMasks, crosshair}
   * `marks` draws what belongs to tools: called with (ctx, matrix, unit) after the front canvas was cleared.
   */
  constructor(canvas, front, { store, image, view }) {
    Object.assign(this, { canvas, front, store, image, view, marks: () => {} });
    this.viewport = new Viewport(canvas, () => this.draw());
    this.frontPort = new Viewport(front, () => this.drawFront());
    this.ctx = canvas.getContext("2d", { alpha: false });
    this.frontCtx = front.getContext("2d");
    this.times = [];
    this.shapes = new Map(); // z -> outlines of a slice that has not changed since
    store.on("slice", (z) => this.shapes.delete(z));
    store.on("head reset", () => this.shapes.clear());
  }

  reset() {
    const { width, height, spacing } = this.store;
    this.viewport.setPlane({ width, height, stepX: spacing[2], stepY: spacing[1] });
    this.buffer = new OffscreenCanvas(width, height);
    this.bufferCtx = this.buffer.getContext("2d");
    this.pixels = this.bufferCtx.createImageData(width, height);
    this.colours = new Uint32Array(this.pixels.data.buffer);
    this.shown = null;
  }

  /** Outlines of what is given and what is proposed on a slice, or worked out again after `shapes.delete(z)`. */
  shapesOf(z) {
    if (!this.shapes.has(z)) {
      const { width, height } = this.store;
      const [slice, proposal] = [this.store.slice(z), this.store.proposal(z)];
      let proposed = proposal;
      if (slice && proposal) {
        proposed = new Uint8Array(proposal.length);
        for (let i = 0; i < proposal.length; i++) if (proposal[i]) proposed[i] = shownProposal(slice, proposal, i);
      }
      if (this.shapes.size > 40) this.shapes.clear(); // outlines are small, but not nothing
      this.shapes.set(z, {
        given: slice ? outlines(slice.given, width, height) : new Map(),
        proposed: proposed ? outlines(proposed, width, height) : new Map(),
      });
    }
    return this.shapes.get(z);
  }

  draw() {
    if (!this.buffer) return;
    const began = performance.now();
    const { ctx, canvas, view, store } = this;
    const matrix = this.viewport.matrix();
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.fillStyle = "#000";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    const hu = this.image.slice(view.z);
    if (hu) {
      const key = `${view.z} ${view.window.level} ${view.window.width}`;
      if (this.shown !== key) {
        view.window.colour(hu, this.colours);
        this.bufferCtx.putImageData(this.pixels, 0, 0);
        this.shown = key;
      }
      ctx.setTransform(matrix);
      ctx.imageSmoothingEnabled = view.smooth;
      ctx.imageSmoothingQuality = "medium";
      ctx.drawImage(this.buffer, 0, 0);
      ctx.setTransform(1, 0, 0, 1, 0, 0);
    } else {
      this.shown = null;
      ctx.fillStyle = "#8b929c";
      ctx.font = `${14 * this.viewport.unit}px system-ui, sans-serif`;
      ctx.textAlign = "center";
      ctx.fillText(`Slice ${view.z} is loading …`, canvas.width / 2, canvas.height / 2);
    }
    if (view.showMasks) {
      const { given, proposed } = this.shapesOf(view.z);
      paintMasks(ctx, proposed, matrix, "proposal", store.labels, this.viewport.unit, view.opacity);
      paintMasks(ctx, given, matrix, "given", store.labels, this.viewport.unit, view.opacity);
    }
    this.times.push(performance.now() - began);
    if (this.times.length > 200) this.times.shift();
    this.drawFront();
  }

  drawFront() {
    if (!this.buffer) return;
    const { frontCtx: ctx, front, view } = this;
    const matrix = this.viewport.matrix();
    const { unit } = this.viewport;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, front.width, front.height);
    if (view.crosshair) {
      const x = (view.cursor.x + 0.5) * matrix.a + matrix.e;
      const y = (view.cursor.y + 0.5) * matrix.d + matrix.f;
      drawCrosshair(ctx, x, y, front.width, front.height, unit);
    }
    this.marks(ctx, matrix, unit);
  }
}

/** Thin lines that leave out the place itself. */
export function drawCrosshair(ctx, x, y, width, height, unit) {
  const gap = 14 * unit;
  ctx.strokeStyle = "rgba(120, 190, 235, 0.55)";
  ctx.lineWidth = unit;
  ctx.beginPath();
  for (const [a, b] of [[0, x - gap], [x + gap, width]]) if (b > a) ctx.moveTo(a, y), ctx.lineTo(b, y);
  for (const [a, b] of [[0, y - gap], [y + gap, height]]) if (b > a) ctx.moveTo(x, a), ctx.lineTo(x, b);
  ctx.stroke();
}
