/** Topics and listeners; what the parts of the page tell each other goes through one of these. */
export class Emitter {
  #listeners = new Map();

  /** Call `listener(detail)` whenever one of `topics` (separated by blanks) is emitted. */
  on(topics, listener) {
    for (const topic of topics.split(" ")) {
      if (!this.#listeners.has(topic)) this.#listeners.set(topic, []);
      this.#listeners.get(topic).push(listener);
    }
  }

  emit(topic, detail) {
    for (const listener of this.#listeners.get(topic) ?? []) listener(detail);
  }
}
