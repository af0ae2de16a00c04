// The microphone: what it hears now, and takes of it as WAV, 16 bits, one channel, at its own sample rate.

const BEFORE = 0.25, AFTER = 0.25; // seconds kept around the two keys, so that no word is cut by a quick finger
const LONGEST = 59; // seconds; the server takes 60

export class Microphone {
  // hears(peak, rate) is told of each chunk, full() that a take is as long as one may be
  constructor(hears, full) {
    Object.assign(this, { hears, full, chunks: [], recording: false, context: null, stream: null });
  }

  async open(device = "") {
    this.close();
    // what makes calls pleasant (gain, noise and echo control) makes voices strange
    const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: device ? { ...plain, deviceId: { exact: device } } : plain });
    const { sampleRate } = this.stream.getAudioTracks()[0].getSettings();
    this.context = new AudioContext(sampleRate ? { sampleRate } : {}); // the microphone's own: nothing is resampled
    await this.context.audioWorklet.addModule("static/record-worklet.js");
    const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    tap.port.onmessage = ({ data }) => this.take(data);
    this.context.createMediaStreamSource(this.stream).connect(tap);
    await this.context.resume();
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    Object.assign(this, { context: null, stream: null, chunks: [], recording: false });
  }

  get rate() { return this.context.sampleRate; }
  get device() { return this.stream?.getAudioTracks()[0]?.getSettings().deviceId ?? ""; }

  take(chunk) {
    if (!this.context) return; // the last one of a microphone that was closed
    this.chunks.push(chunk);
    let peak = 0;
    for (const sample of chunk) peak = Math.max(peak, Math.abs(sample));
    this.hears(peak);
    const seconds = (this.chunks.length * chunk.length) / this.rate;
    if (!this.recording) while (this.chunks.length > Math.ceil((BEFORE * this.rate) / chunk.length)) this.chunks.shift();
    else if (seconds > LONGEST) this.full();
  }

  start() { this.recording = true; }

  async stop() {
    await new Promise((done) => setTimeout(done, AFTER * 1000));
    this.recording = false;
    const chunks = this.chunks;
    this.chunks = [];
    return wav(chunks, this.rate);
  }
}

export async function inputs() {
  return (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "audioinput");
}

function wav(chunks, rate) {
  const frames = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * frames));
  const word = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF"); view.setUint32(4, 36 + 2 * frames, true); word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true); // PCM, one channel
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  word(36, "data"); view.setUint32(40, 2 * frames, true);
  let at = 44;
  for (const chunk of chunks) {
    for (const sample of chunk) { view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true); at += 2; }
  }
  return new Blob([view], { type: "audio/wav" });
}
