/** Strokes as pixels. */

/** Offsets [dx, dy, dx, dy, ...] of the pixels whose centres lie within `radius` pixels; radius 0 is one pixel. */
export function disc(radius) {
  const offsets = [];
  const limit = (radius + 0.25) ** 2; // a quarter more: no single pixels sticking out at the four ends
  for (let dy = -radius; dy <= radius; dy++) {
    for (let dx = -radius; dx <= radius; dx++) if (dx * dx + dy * dy <= limit) offsets.push(dx, dy);
  }
  return offsets;
}

/**
 * Move a disc from one pixel to another without gaps.
 * @param visit called with the index of each pixel, some more than once
 */
export function sweep(offsets, from, to, width, height, visit) {
  const steps = Math.max(1, Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  for (let k = 0; k <= steps; k++) {
    const cx = Math.round(from.x + ((to.x - from.x) * k) / steps);
    const cy = Math.round(from.y + ((to.y - from.y) * k) / steps);
    for (let n = 0; n < offsets.length; n += 2) {
      const [x, y] = [cx + offsets[n], cy + offsets[n + 1]];
      if (x >= 0 && y >= 0 && x < width && y < height) visit(y * width + x);
    }
  }
}

/** A disc's mask and outline, for the pointer. */
export function discMask(radius) {
  const side = 2 * radius + 1;
  const mask = new Uint8Array(side * side);
  const offsets = disc(radius);
  for (let n = 0; n < offsets.length; n += 2) mask[(offsets[n + 1] + radius) * side + offsets[n] + radius] = 1;
  return { mask, side };
}
