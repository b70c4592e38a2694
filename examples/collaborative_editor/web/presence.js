// Who is here, and where: what y-codemirror.next calls an awareness. Others come and go as
// the actor tells; it knows whose socket is open, so nobody has to repeat that they are here.
import * as Y from "yjs";

const MOVE_MS = 40;
// White is readable on each, at the lightness below.
const HUES = [12, 28, 95, 150, 180, 205, 232, 265, 300, 335];

export class Presence {
  constructor(doc, name) {
    this.doc = doc;
    this.name = name;
    this.cursor = null;
    this.onMove = () => {};
    this.others = new Map();
    this.listeners = new Set();
  }

  /** What the actor is told. */
  message() {
    return JSON.stringify({ name: this.name, cursor: this.cursor });
  }

  rename(name) {
    this.name = name;
    this.onMove();
  }

  /** Somebody moved, or left. */
  hear({ who, name, cursor, gone }) {
    if (gone) this.others.delete(gone);
    else this.others.set(who, { user: user(name), cursor: this.readable(cursor) });
    this.changed([who ?? gone]);
  }

  clear() {
    const gone = [...this.others.keys()];
    this.others.clear();
    this.changed(gone);
  }

  /** A cursor, if it is a place that Yjs can read: others may send anything. */
  readable(cursor) {
    try {
      for (const end of [cursor.anchor, cursor.head]) {
        Y.createAbsolutePositionFromRelativePosition(end, this.doc);
      }
      return cursor;
    } catch {
      return null;
    }
  }

  changed(ids) {
    const change = { added: [], updated: ids, removed: [] };
    for (const listener of this.listeners) listener(change);
  }

  getLocalState() {
    return { user: user(this.name), cursor: this.cursor };
  }

  setLocalStateField(field, value) {
    this[field] = value;
    // A drag of the mouse is many moves; others see the last.
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.onMove();
    }, MOVE_MS);
  }

  getStates() {
    return this.others;
  }

  on(_, listener) {
    this.listeners.add(listener);
  }

  off(_, listener) {
    this.listeners.delete(listener);
  }
}

/** A name and its colours, the same on every screen. Each name has a shade of its own: the
 * editor draws a cursor anew only if its colour has changed. */
export function user(name) {
  let hash = 0;
  for (const letter of name) hash = Math.imul(hash ^ letter.codePointAt(0), 0x9e3779b1) >>> 0;
  const hue = HUES[(hash >>> 16) % HUES.length] + (hash % 0x10000) / 0x2000;
  return { name, color: `hsl(${hue} 65% 36%)`, colorLight: `hsl(${hue} 65% 36% / 0.25)` };
}
