// The microphone's samples, as they come, to the page: no codec in between.

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Float32Array(2048);
    this.filled = 0;
  }

  process([channels]) {
    const [samples] = channels;
    if (!samples) return true;
    this.chunk.set(samples, this.filled); // 128 frames each time
    this.filled += samples.length;
    if (this.filled === this.chunk.length) {
      this.port.postMessage(this.chunk);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("tap", Tap);
