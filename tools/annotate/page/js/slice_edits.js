/**
 * What an edit does to one slice, so that it is seen before the server has answered. The rules are those of
 * document.py, whose answer replaces what was worked out here.
 *
 * A slice is `{given: Uint8Array, speaks: Set, complete: boolean, kind: string}`; `shownProposal` says what of a
 * proposal is to be seen beside it.
 */

export function emptySlice(size) {
  return { given: new Uint8Array(size), speaks: new Set(), complete: false, kind: "painted" };
}

export function copySlice(slice) {
  return { ...slice, given: slice.given.slice(), speaks: new Set(slice.speaks) };
}

/** Label of the proposal at pixel `i` that the slice leaves to be seen, or 0. */
export function shownProposal(slice, proposal, i) {
  if (!proposal || slice.complete) return 0;
  const value = proposal[i];
  return value && !slice.given[i] && !slice.speaks.has(value) ? value : 0;
}

/** From now on the slice speaks for `label`, beginning with what was proposed of it. */
export function adopt(slice, proposal, label) {
  if (slice.complete || slice.speaks.has(label)) return;
  const { given } = slice;
  if (proposal) {
    for (let i = proposal.indexOf(label); i >= 0; i = proposal.indexOf(label, i + 1)) {
      if (!given[i]) given[i] = label;
    }
  }
  slice.speaks.add(label);
}

/** Paint one pixel, unless a locked label is seen there. The label has been adopted before. */
export function paintPixel(slice, proposal, label, locked, i) {
  const there = slice.given[i] || shownProposal(slice, proposal, i);
  if (there !== label && locked.has(there)) return;
  slice.given[i] = label;
}

/** Erase one pixel of `label` (null: of any label that is not locked). */
export function erasePixel(slice, proposal, label, locked, i) {
  const there = slice.given[i] || shownProposal(slice, proposal, i);
  if (!there || locked.has(there) || (label !== null && there !== label)) return;
  adopt(slice, proposal, there);
  slice.given[i] = 0;
}

function eachPixel(runs, visit) {
  for (let r = 0; r < runs.length; r += 2) {
    for (let i = runs[r], end = i + runs[r + 1]; i < end; i++) visit(i);
  }
}

/**
 * Do a whole action to a slice.
 * @param body the body of the edit request
 * @returns the slice after it
 */
export function applyEdit(slice, proposal, body, locked) {
  if (body.action === "paint") {
    adopt(slice, proposal, body.label);
    eachPixel(body.runs, (i) => paintPixel(slice, proposal, body.label, locked, i));
  } else if (body.action === "erase") {
    eachPixel(body.runs, (i) => erasePixel(slice, proposal, body.label, locked, i));
  } else if (body.action === "accept") {
    for (let i = 0; i < slice.given.length; i++) slice.given[i] ||= shownProposal(slice, proposal, i);
    slice.complete = true; // until the server says for which labels it speaks
    slice.kind = "accepted";
  } else if (body.action === "absent") {
    for (let i = 0; i < slice.given.length; i++) if (slice.given[i] === body.label) slice.given[i] = 0;
    slice.speaks.add(body.label);
  } else if (body.action === "clear") {
    for (let i = 0; i < slice.given.length; i++) if (!locked.has(slice.given[i])) slice.given[i] = 0;
    slice.speaks = new Set([...slice.speaks].filter((value) => locked.has(value)));
    slice.complete = false;
  }
  return slice;
}
