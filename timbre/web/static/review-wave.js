// The sound as a picture: the whole recording in a strip, and a window of it with the lines as regions.

import { clock, heard } from "./review-model.js";

const PER_SECOND = 100; // peaks, as timbre/web/review/peaks.py makes them
const GRIP = 7; // pixels around an edge where it can be taken

export class Wave {
  // does: {seek(time), drag(key, start, end, done)}
  constructor(canvas, strip, does) {
    Object.assign(this, { canvas, strip, does, lines: [], peaks: null, seconds: 1, selected: 0, playhead: 0, from: 0, span: 12 });
    this.pictures = new ResizeObserver(() => this.draw());
    this.pictures.observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointerdown", (event) => this.take(event));
    canvas.addEventListener("pointermove", (event) => { canvas.style.cursor = this.edge(event) ? "ew-resize" : "text"; });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    strip.addEventListener("pointerdown", (event) => does.seek((this.seconds * event.offsetX) / strip.clientWidth));
  }

  set(state) {
    Object.assign(this, state);
    this.draw();
  }

  get line() { return this.lines[this.selected]; }

  // bring the selected line into the window, with some of what is around it
  follow() {
    if (!this.line) return;
    const { start, end } = this.line;
    this.span = Math.max(this.span, Math.min(60, (end - start) * 1.3));
    if (start < this.from || end > this.from + this.span) this.move((start + end - this.span) / 2);
    this.draw();
  }

  move(from) { this.from = Math.max(0, Math.min(from, this.seconds - this.span)); }

  zoom(factor, around = this.line ? (this.line.start + this.line.end) / 2 : this.playhead) {
    const share = (around - this.from) / this.span;
    this.span = Math.max(1, Math.min(120, this.seconds, this.span * factor));
    this.move(around - share * this.span);
    this.draw();
  }

  time(event) { return this.from + (this.span * event.offsetX) / this.canvas.clientWidth; }
  x(time) { return ((time - this.from) / this.span) * this.canvas.clientWidth; }

  edge(event) {
    if (!this.line) return null;
    const starts = Math.abs(this.x(this.line.start) - event.offsetX), ends = Math.abs(this.x(this.line.end) - event.offsetX);
    return Math.min(starts, ends) > GRIP ? null : starts <= ends ? "start" : "end";
  }

  take(event) {
    const edge = this.edge(event);
    if (!edge) { this.does.seek(this.time(event)); return; }
    const { key } = this.line;
    this.canvas.setPointerCapture(event.pointerId);
    const drag = (moved, done = false) => {
      const line = this.lines.find((other) => other.key === key);
      if (line) this.does.drag(key, edge === "start" ? this.time(moved) : line.start, edge === "end" ? this.time(moved) : line.end, done);
    };
    const stop = (last) => {
      this.canvas.removeEventListener("pointermove", drag);
      drag(last, true);
    };
    this.canvas.addEventListener("pointermove", drag);
    this.canvas.addEventListener("pointerup", stop, { once: true });
  }

  wheel(event) {
    event.preventDefault();
    if (event.ctrlKey) this.zoom(Math.exp(event.deltaY / 200), this.time(event));
    else this.move(this.from + ((event.deltaX || event.deltaY) / this.canvas.clientWidth) * this.span);
    this.draw();
  }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      const style = getComputedStyle(this.canvas);
      this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
      this.font = style.fontFamily;
      this.drawWindow();
      this.drawStrip();
    });
  }

  sized(canvas) {
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    return [pen, width, height];
  }

  drawWindow() {
    const [pen, width, height] = this.sized(this.canvas);
    const middle = (height - 18) / 2;
    for (let i = this.firstAfter(this.from); i < this.lines.length && this.lines[i].start < this.from + this.span; i++) {
      const line = this.lines[i], left = this.x(line.start), right = this.x(line.end), chosen = i === this.selected;
      pen.fillStyle = this.colour(chosen ? "chosen" : "faint");
      pen.fillRect(left, 0, Math.max(1, right - left - 1), height - 18);
      pen.fillStyle = this.colour(line.flag === "drop" ? "wrong" : heard(line) ? "tuned" : "base-soft");
      pen.fillRect(left, height - 21, Math.max(1, right - left - 1), 3);
    }
    pen.fillStyle = this.colour("base-soft");
    this.wave(pen, width, middle, this.from, this.span, 0, width);
    if (this.line) {
      const left = this.x(this.line.start), right = this.x(this.line.end);
      pen.fillStyle = this.colour("tuned");
      this.wave(pen, width, middle, this.from, this.span, Math.max(0, Math.floor(left)), Math.min(width, Math.ceil(right)));
      for (const edge of [left, right]) {
        pen.fillRect(edge - 1, 0, 2, height - 18);
        pen.fillRect(edge - 3, middle - 9, 6, 18);
      }
    }
    pen.fillStyle = this.colour("soft");
    pen.font = `11px ${this.font}`;
    const step = [0.5, 1, 2, 5, 10, 20, 30].find((seconds) => (seconds / this.span) * width > 64) ?? 60;
    for (let at = Math.ceil(this.from / step) * step; at < this.from + this.span; at += step) {
      pen.fillText(clock(at, step < 1 ? 1 : 0), this.x(at) + 3, height - 4);
      pen.fillRect(this.x(at), height - 14, 1, 14);
    }
    pen.fillStyle = this.colour("ink");
    pen.fillRect(this.x(this.playhead) - 0.75, 0, 1.5, height - 18);
    if (!this.peaks) {
      pen.font = `13px ${this.font}`;
      pen.fillText("reading the sound …", 12, 22);
    }
  }

  wave(pen, width, middle, from, span, left, right) {
    if (!this.peaks) return;
    pen.beginPath();
    for (let x = left; x < right; x++) {
      const first = Math.floor((from + (span * x) / width) * PER_SECOND);
      const last = Math.max(first + 1, Math.floor((from + (span * (x + 1)) / width) * PER_SECOND));
      let most = 0;
      for (let i = first; i < last; i++) if (this.peaks[i] > most) most = this.peaks[i];
      const tall = Math.max(0.75, (most / 255) ** 1.5 * (middle - 6)); // between level and its root: quiet speech is seen
      pen.rect(x, middle - tall, 1, 2 * tall);
    }
    pen.fill();
  }

  drawStrip() {
    const [pen, width, height] = this.sized(this.strip);
    pen.fillStyle = this.colour("base-soft");
    this.wave(pen, width, (height - 4) / 2 + 2, 0, this.seconds, 0, width);
    for (const line of this.lines) {
      const left = (line.start / this.seconds) * width;
      pen.fillStyle = this.colour(line.flag === "drop" ? "wrong" : heard(line) ? "tuned" : "line");
      pen.fillRect(left, height - 4, Math.max(0.7, ((line.end - line.start) / this.seconds) * width), 4);
    }
    pen.strokeStyle = this.colour("ink");
    pen.lineWidth = 1.5;
    pen.strokeRect((this.from / this.seconds) * width + 0.75, 0.75, Math.max(4, (this.span / this.seconds) * width) - 1.5, height - 1.5);
    pen.fillStyle = this.colour("ink");
    pen.fillRect((this.playhead / this.seconds) * width, 0, 1, height);
  }

  firstAfter(time) {
    let low = 0, high = this.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lines[middle].end < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
