/** Masks and pixel sets as they travel; the mirror of protocol.py. */

/**
 * Run-length code of a slice mask: pairs of varints (run length, value), low seven bits first.
 * @param {Uint8Array} bytes the code
 * @param {number} size pixels of a slice, H * W; a code that covers another number is refused
 * @returns {Uint8Array} the mask, row by row
 */
export function decodeRle(bytes, size) {
  const mask = new Uint8Array(size);
  let at = 0;
  let pixel = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw new RangeError("a run-length code ends within a number");
  };
  while (at < bytes.length) {
    const length = varint();
    const value = varint();
    if (pixel + length > size) throw new RangeError("a run-length code is longer than the slice");
    if (value) mask.fill(value, pixel, pixel + length);
    pixel += length;
  }
  if (pixel !== size) throw new RangeError(`a run-length code covers ${pixel} of ${size} pixels`);
  return mask;
}

/** The same from base64, as it comes within JSON. */
export function decodeBase64(text, size) {
  return decodeRle(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), size);
}

/**
 * Blocks of an octet-stream, each behind its length (4 bytes, little endian).
 * @param {ArrayBuffer} buffer
 * @returns {Uint8Array[]}
 */
export function readBlocks(buffer) {
  const view = new DataView(buffer);
  const blocks = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const length = view.getUint32(at, true);
    blocks.push(new Uint8Array(buffer, at + 4, length));
    at += 4 + length;
  }
  return blocks;
}

/** The set pixels of `mask` as a flat list [start, length, start, length, ...]. */
export function runsOf(mask) {
  const runs = [];
  for (let i = mask.indexOf(1); i >= 0; i = mask.indexOf(1, i)) {
    const start = i;
    while (i < mask.length && mask[i]) i++;
    runs.push(start, i - start);
  }
  return runs;
}

/** A flat list of runs as a mask of ones. */
export function maskOf(runs, size) {
  const mask = new Uint8Array(size);
  for (let i = 0; i < runs.length; i += 2) mask.fill(1, runs[i], runs[i] + runs[i + 1]);
  return mask;
}
