/**
 * Masks over an image. What was given is filled evenly with a solid outline; what is proposed is hatched with a
 * dashed outline, so that the two are told apart without colour. Every line has an edge of the other brightness
 * beside it: it is seen on air, on soft tissue and on bone.
 */

const HATCH = 10; // units between two lines of a hatching
const hatchings = new Map();

export const css = ([r, g, b], alpha = 1) => `rgba(${r},${g},${b},${alpha})`;

/** Black beside a bright colour, white beside a dark one. */
function edgeOf([r, g, b]) {
  return 0.3 * r + 0.59 * g + 0.11 * b > 90 ? [0, 0, 0] : [255, 255, 255];
}

function hatching(ctx, color, unit, opacity) {
  const key = `${color},${unit},${opacity}`;
  if (!hatchings.has(key)) {
    const side = Math.round(HATCH * unit);
    const tile = new OffscreenCanvas(side, side);
    const pen = tile.getContext("2d");
    pen.fillStyle = css(color, opacity * 0.25);
    pen.fillRect(0, 0, side, side);
    const lines = (colour, width) => {
      pen.strokeStyle = colour;
      pen.lineWidth = width * unit;
      for (const shift of [-side, 0, side]) {
        pen.beginPath();
        pen.moveTo(shift - 1, side + 1);
        pen.lineTo(shift + side + 1, -1);
        pen.stroke();
      }
    };
    lines(css(edgeOf(color), Math.min(1, opacity * 1.1)), 2.4);
    lines(css(color, Math.min(1, opacity * 2.4)), 1.3);
    hatchings.set(key, ctx.createPattern(tile, "repeat"));
  }
  return hatchings.get(key);
}

/**
 * @param ctx a 2D context in device pixels
 * @param {Map<number, Path2D>} paths outlines by label, in pixels of the plane
 * @param {DOMMatrix} matrix from pixels of the plane to device pixels
 * @param style "given" | "proposal"
 * @param {Map} labels value -> {color, visible}
 * @param unit device pixels to a unit of line width
 */
export function paintMasks(ctx, paths, matrix, style, labels, unit, opacity) {
  const given = style === "given";
  for (const [value, path] of paths) {
    const label = labels.get(value);
    if (!label?.visible) continue;
    const placed = new Path2D();
    placed.addPath(path, matrix);
    ctx.lineJoin = "miter";
    ctx.fillStyle = given ? css(label.color, opacity) : hatching(ctx, label.color, unit, opacity);
    ctx.fill(placed, "evenodd");
    ctx.strokeStyle = css(edgeOf(label.color), 0.7);
    ctx.lineWidth = 3.25 * unit;
    ctx.stroke(placed);
    if (!given) ctx.setLineDash([5 * unit, 3.5 * unit]);
    ctx.strokeStyle = css(label.color);
    ctx.lineWidth = 1.75 * unit;
    ctx.stroke(placed);
    ctx.setLineDash([]);
  }
}
