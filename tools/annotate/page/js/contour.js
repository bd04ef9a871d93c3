/**
 * Outlines of masks along the edges of their pixels.
 *
 * A loop keeps its label on its right hand; where two pixels of a label touch at a corner only, they belong to two
 * loops. Every loop runs right somewhere, so a mark on the upper edges of pixels is enough to walk each loop once.
 */

const RIGHT = 0, DOWN = 1, LEFT = 2, UP = 3;

/**
 * @param {Uint8Array} mask labels of a plane, row by row
 * @returns {Map<number, Path2D>} for each label its outline; a pixel (x, y) covers [x, x+1] by [y, y+1]
 */
export function outlines(mask, width, height) {
  const paths = new Map();
  const walked = new Uint8Array(mask.length);
  for (let i = 0; i < mask.length; i++) {
    const label = mask[i];
    if (!label || walked[i] || (i >= width && mask[i - width] === label)) continue;
    let path = paths.get(label);
    if (!path) paths.set(label, (path = new Path2D()));
    walk(mask, width, height, i, path, walked);
  }
  return paths;
}

function walk(mask, width, height, start, path, walked) {
  const label = mask[start];
  const is = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === label;
  let [x, y, way] = [start % width, (start / width) | 0, RIGHT]; // the pixel on the right hand
  path.moveTo(x, y);
  for (;;) {
    let turned;
    if (way === RIGHT) {
      if (walked[y * width + x]) break; // round
      walked[y * width + x] = 1;
      turned = !is(x + 1, y) ? DOWN : is(x + 1, y - 1) ? UP : RIGHT;
      if (turned !== RIGHT) path.lineTo(x + 1, y);
      if (turned === UP) y--;
      if (turned !== DOWN) x++;
    } else if (way === DOWN) {
      turned = !is(x, y + 1) ? LEFT : is(x + 1, y + 1) ? RIGHT : DOWN;
      if (turned !== DOWN) path.lineTo(x + 1, y + 1);
      if (turned === RIGHT) x++;
      if (turned !== LEFT) y++;
    } else if (way === LEFT) {
      turned = !is(x - 1, y) ? UP : is(x - 1, y + 1) ? DOWN : LEFT;
      if (turned !== LEFT) path.lineTo(x, y + 1);
      if (turned === DOWN) y++;
      if (turned !== UP) x--;
    } else {
      turned = !is(x, y - 1) ? RIGHT : is(x - 1, y - 1) ? LEFT : UP;
      if (turned !== UP) path.lineTo(x, y);
      if (turned === LEFT) x--;
      if (turned !== RIGHT) y--;
    }
    way = turned;
  }
  path.closePath();
}
