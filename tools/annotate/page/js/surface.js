/**
 * Surfaces of labels by surface nets: a corner in every cell of 2 x 2 x 2 voxels that the surface runs through, moved
 * towards its neighbours within the cell, so that stairs become smooth and thin parts stay.
 */

const ROUNDS = 8; // of smoothing; after these little moves any more

/**
 * @param {Uint8Array} voxels labels, x fastest
 * @param {number[]} shape [x, y, z]
 * @param {number} label
 * @param {number[]} box [x0, x1, y0, y1, z0, z1], all inside, the label's bounds
 * @returns {{corners: Float32Array, triangles: Uint32Array}} corners in voxels (the middle of the first is 0, 0, 0);
 *   triangles counterclockwise seen from outside
 */
export function surface(voxels, shape, label, [x0, x1, y0, y1, z0, z1]) {
  // Cells between voxels, one layer beyond the box on every side; cell (0, 0, 0) has voxel (x0-1, y0-1, z0-1) first.
  const cells = [x1 - x0 + 2, y1 - y0 + 2, z1 - z0 + 2];
  const steps = [1, cells[0], cells[0] * cells[1]];
  const numbers = new Int32Array(steps[2] * cells[2]).fill(-1);
  const corners = [];
  const inside = (x, y, z) =>
    x >= x0 && y >= y0 && z >= z0 && x <= x1 && y <= y1 && z <= z1 && voxels[(z * shape[1] + y) * shape[0] + x] === label;
  const quads = [];
  const corner = (cell) => {
    if (numbers[cell] < 0) {
      numbers[cell] = corners.length / 3;
      const z = Math.floor(cell / steps[2]);
      const y = Math.floor((cell - z * steps[2]) / steps[1]);
      corners.push(x0 - 0.5 + (cell % steps[1]), y0 - 0.5 + y, z0 - 0.5 + z);
    }
    return numbers[cell];
  };
  // A face between a voxel inside and one outside becomes a quad of the four cells round it.
  for (let z = z0; z <= z1; z++) {
    for (let y = y0; y <= y1; y++) {
      for (let x = x0; x <= x1; x++) {
        if (!inside(x, y, z)) continue;
        const cell = x - x0 + 1 + (y - y0 + 1) * steps[1] + (z - z0 + 1) * steps[2]; // this voxel is its first
        for (let axis = 0; axis < 3; axis++) {
          const [u, v] = [steps[(axis + 1) % 3], steps[(axis + 2) % 3]];
          for (const side of [0, 1]) {
            const beyond = [x, y, z];
            beyond[axis] += side ? 1 : -1;
            if (inside(...beyond)) continue;
            const base = side ? cell : cell - steps[axis];
            const round = [base - u - v, base - v, base, base - u].map(corner);
            quads.push(...(side ? round : round.reverse()));
          }
        }
      }
    }
  }
  return { corners: smoothed(Float32Array.from(corners), quads), triangles: split(quads) };
}

function split(quads) {
  const triangles = new Uint32Array((quads.length / 4) * 6);
  for (let q = 0, t = 0; q < quads.length; q += 4) {
    const [a, b, c, d] = [quads[q], quads[q + 1], quads[q + 2], quads[q + 3]];
    for (const corner of [a, b, c, a, c, d]) triangles[t++] = corner;
  }
  return triangles;
}

/** Every corner to the mean of its neighbours, again and again, never out of its cell. */
function smoothed(corners, quads) {
  const home = corners.slice();
  const sums = new Float32Array(corners.length);
  const counts = new Uint16Array(corners.length / 3);
  for (let round = 0; round < ROUNDS; round++) {
    sums.fill(0);
    counts.fill(0);
    for (let q = 0; q < quads.length; q += 4) {
      for (let k = 0; k < 4; k++) {
        const [a, b] = [quads[q + k], quads[q + ((k + 1) & 3)]];
        for (let axis = 0; axis < 3; axis++) {
          sums[3 * a + axis] += corners[3 * b + axis];
          sums[3 * b + axis] += corners[3 * a + axis];
        }
        counts[a]++;
        counts[b]++;
      }
    }
    for (let i = 0; i < corners.length; i++) {
      const mean = sums[i] / counts[(i / 3) | 0];
      corners[i] = Math.max(home[i] - 0.5, Math.min(home[i] + 0.5, mean));
    }
  }
  return corners;
}
