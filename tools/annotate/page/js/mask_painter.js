/**
 * Masks over an image. What was given is filled evenly with a solid outline; what is proposed is hatched with a
 * dashed outline, so that the two are told apart without colour.
 */

const HATCH = 7; // units between two lines of a hatching
const hatchings = new Map();

function hatching(ctx, [r, g, b], unit, alpha) {
  const key = `${r},${g},${b},${unit},${alpha}`;
  if (!hatchings.has(key)) {
    const side = Math.round(HATCH * unit);
    const tile = new OffscreenCanvas(side, side);
    const pen = tile.getContext("2d");
    pen.fillStyle = `rgba(${r},${g},${b},${alpha * 0.16})`;
    pen.fillRect(0, 0, side, side);
    pen.strokeStyle = `rgba(${r},${g},${b},${alpha})`;
    pen.lineWidth = unit * 1.1;
    for (const shift of [-side, 0, side]) {
      pen.beginPath();
      pen.moveTo(shift - 1, side + 1);
      pen.lineTo(shift + side + 1, -1);
      pen.stroke();
    }
    hatchings.set(key, ctx.createPattern(tile, "repeat"));
  }
  return hatchings.get(key);
}

export const css = ([r, g, b], alpha = 1) => `rgba(${r},${g},${b},${alpha})`;

/**
 * @param ctx a 2D context in device pixels
 * @param {Map<number, Path2D>} paths outlines by label, in pixels of the plane
 * @param {DOMMatrix} matrix from pixels of the plane to device pixels
 * @param style "given" | "proposal"
 * @param {Map} labels value -> {color, visible}
 * @param unit device pixels to a unit of line width
 */
export function paintMasks(ctx, paths, matrix, style, labels, unit, opacity) {
  for (const [value, path] of paths) {
    const label = labels.get(value);
    if (!label?.visible) continue;
    const placed = new Path2D();
    placed.addPath(path, matrix);
    ctx.lineJoin = "miter";
    if (style === "given") {
      ctx.fillStyle = css(label.color, opacity);
      ctx.fill(placed, "evenodd");
      ctx.setLineDash([]);
    } else {
      ctx.fillStyle = hatching(ctx, label.color, unit, Math.min(1, opacity * 1.6));
      ctx.fill(placed, "evenodd");
      ctx.setLineDash([5 * unit, 3.5 * unit]);
    }
    ctx.strokeStyle = css(label.color);
    ctx.lineWidth = (style === "given" ? 1.75 : 1.5) * unit;
    ctx.stroke(placed);
  }
  ctx.setLineDash([]);
}
