/** Stands for the Zarr reader, 1.4 MB with its codecs, which the 3D pane has no use for. */
const absent = () => {
  throw new Error("Zarr is not part of this bundle");
};
export { absent as FetchStore, absent as get, absent as open, absent as root };
