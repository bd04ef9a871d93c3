/**
 * The CT: one int16 array for the whole volume, filled in slabs from the current slice outward.
 *
 * Emits "slab" ({first, count}), "progress" (share of the slices that are there) and "failed" (error).
 */
import { Refused } from "./api.js";
import { Emitter } from "./emitter.js";

const FIRST_SLAB = 8; // 4 MB of 512 x 512: what is looked at is there soon
const SLAB = 16;
const AT_ONCE = 2;

export class CtImage extends Emitter {
  constructor(api, store) {
    super();
    this.api = api;
    this.store = store;
  }

  /** An empty volume of the store's shape. */
  reset() {
    const { depth, size } = this.store;
    this.voxels = new Int16Array(depth * size);
    this.loaded = new Uint8Array(depth);
    this.loading = Symbol("load"); // an older load finds that it is no longer wanted
  }

  /** No more of what is being loaded: another case comes. */
  stop() {
    this.loading = null;
  }

  slice(z) {
    return this.loaded[z] ? this.voxels.subarray(z * this.store.size, (z + 1) * this.store.size) : null;
  }

  /** HU, or null where the slice is not there yet. */
  hu(z, y, x) {
    return this.loaded[z] ? this.voxels[z * this.store.size + y * this.store.width + x] : null;
  }

  /** Load everything; resolves when the slab round slice `z` is there, the rest follows. */
  async load(z) {
    this.reset();
    const mine = this.loading;
    const slabs = slabsFrom(z, this.store.depth);
    await this.#fetch(slabs.shift(), mine);
    const worker = async () => {
      for (let slab = slabs.shift(); slab && mine === this.loading; slab = slabs.shift()) await this.#fetch(slab, mine);
    };
    for (let k = 0; k < AT_ONCE; k++) worker().catch((error) => this.emit("failed", error));
  }

  async #fetch({ first, count }, mine) {
    for (let wait = 500; mine === this.loading; wait = Math.min(2 * wait, 5000)) {
      try {
        const voxels = await this.api.image(first, count);
        if (mine !== this.loading) return;
        this.voxels.set(voxels, first * this.store.size);
        this.loaded.fill(1, first, first + count);
        this.emit("slab", { first, count });
        this.emit("progress", this.loaded.reduce((sum, there) => sum + there, 0) / this.loaded.length);
        return;
      } catch (error) {
        if (error instanceof Refused && error.status !== 503) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }
}

/** Slabs that cover `depth` slices, the one round `z` first, then by turns above and below it. */
export function slabsFrom(z, depth, firstCount = FIRST_SLAB, count = SLAB) {
  const first = Math.max(0, Math.min(z - (firstCount >> 1), depth - firstCount));
  let [low, high] = [first, Math.min(depth, first + firstCount)];
  const slabs = [{ first: low, count: high - low }];
  while (low > 0 || high < depth) {
    if (high < depth) {
      const n = Math.min(count, depth - high);
      slabs.push({ first: high, count: n });
      high += n;
    }
    if (low > 0) {
      const n = Math.min(count, low);
      low -= n;
      slabs.push({ first: low, count: n });
    }
  }
  return slabs;
}
