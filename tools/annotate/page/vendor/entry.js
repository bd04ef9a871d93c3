/** What the 3D pane takes of NiiVue. */
export { NVMesh, Niivue } from "@niivue/niivue";
