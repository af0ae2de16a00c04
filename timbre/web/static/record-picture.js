// The sound of a take: as it comes, and when it is there with the voice in another colour than the room.

export class Picture {
  constructor(canvas) {
    Object.assign(this, { canvas, levels: [], voice: null, at: 0, running: false, asked: 0, loaded: Promise.resolve() });
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  live() { Object.assign(this, { levels: [], voice: null, running: true, at: 0, asked: this.asked + 1 }); this.draw(); }
  clear() { Object.assign(this, { levels: [], voice: null, running: false, at: 0, asked: this.asked + 1 }); this.draw(); }

  hear(peak) {
    if (!this.running) return;
    this.levels.push(peak);
    this.draw();
  }

  play(time) { this.at = time; this.draw(); }

  // `loaded` settles when the sound is here: whoever lets its file be removed waits for it.
  show(address, take) { this.loaded = this.load(address, take); }

  async load(address, take) {
    const asked = ++this.asked;
    this.running = false;
    const sound = await fetch(address)
      .then((answer) => (answer.ok ? answer.arrayBuffer() : Promise.reject(answer)))
      .then((bytes) => new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes))
      .catch(() => null);
    if (!sound || asked !== this.asked) return;
    const samples = sound.getChannelData(0), step = Math.ceil(samples.length / 400);
    this.levels = Array.from({ length: Math.floor(samples.length / step) }, (_, i) => samples.subarray(i * step, (i + 1) * step).reduce((most, x) => Math.max(most, Math.abs(x)), 0));
    this.voice = { start: take.start / take.seconds, end: take.end / take.seconds, seconds: take.seconds };
    this.at = 0;
    this.draw();
  }

  draw() {
    const scale = devicePixelRatio || 1, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width) return;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d"), style = getComputedStyle(this.canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    pen.scale(scale, scale);
    const count = this.running ? 200 : Math.max(this.levels.length, 1), shown = this.levels.slice(-count), each = width / count;
    if (this.voice) {
      pen.fillStyle = colour("chosen");
      pen.fillRect(this.voice.start * width, 0, (this.voice.end - this.voice.start) * width, height);
    }
    shown.forEach((level, i) => {
      const inside = this.voice && (i + 0.5) / count >= this.voice.start && (i + 0.5) / count <= this.voice.end;
      pen.fillStyle = colour(level >= 0.99 ? "wrong" : this.running ? "wrong" : inside ? "tuned" : "base-soft");
      const tall = Math.max(0.75, Math.sqrt(level) * (height / 2 - 4));
      pen.fillRect(i * each, height / 2 - tall, Math.max(1, each - 0.6), 2 * tall);
    });
    if (this.voice && this.at) {
      pen.fillStyle = colour("ink");
      pen.fillRect((this.at / this.voice.seconds) * width, 0, 1.5, height);
    }
  }
}
