// A list of thousands of rows of which only those in sight exist. Heights are guessed until a row was seen.

const AROUND = 400; // pixels above and below what is in sight
const GUESS = 72; // pixels

export class List {
  // `make(key)` gives a row's element, `fill(element, key)` brings it up to date
  constructor(scroller, make, fill) {
    Object.assign(this, { scroller, make, fill, keys: [], index: new Map(), heights: new Map(), rows: new Map() });
    this.tops = new Float64Array(1);
    this.space = document.createElement("div");
    this.space.className = "space";
    scroller.append(this.space);
    scroller.addEventListener("scroll", () => this.later(), { passive: true });
    this.width = 0;
    new ResizeObserver(() => {
      if (scroller.clientWidth !== this.width) this.heights.clear();
      this.width = scroller.clientWidth;
      for (const [key, row] of this.rows) this.heights.set(key, row.offsetHeight);
      this.place();
      this.later();
    }).observe(scroller);
  }

  show(keys) {
    this.keys = keys;
    this.index = new Map(keys.map((key, index) => [key, index]));
    for (const [key, row] of this.rows) if (!this.index.has(key)) this.remove(key, row);
    this.place();
    this.draw();
  }

  later() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => { this.asked = 0; this.draw(); });
  }

  refresh(key) {
    const row = this.rows.get(key);
    if (!row) return;
    this.fill(row, key);
    this.measure(key);
  }

  refreshAll() {
    for (const [key, row] of this.rows) this.fill(row, key);
    for (const [key, row] of this.rows) this.heights.set(key, row.offsetHeight);
    this.place();
    this.draw();
  }

  measure(key) {
    const height = this.rows.get(key)?.offsetHeight;
    if (!height || height === this.heights.get(key)) return;
    this.heights.set(key, height);
    this.place();
    this.draw();
  }

  place() {
    this.tops = new Float64Array(this.keys.length + 1);
    for (let i = 0; i < this.keys.length; i++) this.tops[i + 1] = this.tops[i] + (this.heights.get(this.keys[i]) ?? GUESS);
    this.space.style.height = `${this.tops[this.keys.length]}px`;
    for (const [key, row] of this.rows) row.style.transform = `translateY(${this.tops[this.index.get(key)]}px)`;
  }

  at(y) {
    let low = 0, high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  draw() {
    const { scroller } = this;
    const anchor = this.at(scroller.scrollTop);
    const offset = scroller.scrollTop - this.tops[Math.min(anchor, this.keys.length)];
    for (let round = 0; round < 3; round++) { // new rows have other heights than guessed, and then more or fewer are in sight
      const first = this.at(scroller.scrollTop - AROUND), last = this.at(scroller.scrollTop + scroller.clientHeight + AROUND);
      const wanted = this.keys.slice(first, last + 1);
      const fresh = wanted.filter((key) => !this.rows.has(key));
      const keep = new Set(wanted);
      for (const [key, row] of this.rows) if (!keep.has(key) && !row.contains(document.activeElement)) this.remove(key, row);
      if (!fresh.length) break;
      for (const key of fresh) {
        const row = this.make(key);
        this.fill(row, key);
        this.rows.set(key, row);
        this.space.append(row);
      }
      for (const key of fresh) this.heights.set(key, this.rows.get(key).offsetHeight);
      this.place();
      if (anchor < this.keys.length) scroller.scrollTop = this.tops[anchor] + offset;
    }
  }

  remove(key, row) {
    row.remove();
    this.rows.delete(key);
  }

  reveal(key) {
    const index = this.index.get(key);
    if (index === undefined) return;
    for (let round = 0; round < 2; round++) { // the second time with measured heights
      const { scroller, tops } = this;
      const room = Math.min(120, scroller.clientHeight / 4);
      if (tops[index] < scroller.scrollTop + room) scroller.scrollTop = tops[index] - room;
      else if (tops[index + 1] > scroller.scrollTop + scroller.clientHeight - room) {
        scroller.scrollTop = tops[index + 1] - scroller.clientHeight + room;
      }
      this.draw();
    }
  }
}
