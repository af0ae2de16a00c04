// Where in a recording there is sound, from its peaks, so that a pace counts what is spoken and not the silence around it.

const PER_SECOND = 100; // peaks; a byte is 255 · √level
const PAUSE = 0.3; // seconds; shorter silences between two sounds belong to speaking
const OVER_NOISE = 1.58, UNDER_VOICE = 0.2; // 8 dB above the quietest tenth, 28 dB below the loudest twentieth: /40, being roots

// Gives (start, end) → seconds of speech between them.
export function speechIn(peaks) {
  const least = threshold(peaks), upTo = new Uint32Array(peaks.length + 1);
  const spoken = Uint8Array.from(peaks, (peak) => (peak > least ? 1 : 0));
  let last = -Infinity;
  for (let i = 0; i < spoken.length; i++) {
    if (!spoken[i] || peaks[i] <= least) continue;
    if (i - last <= PAUSE * PER_SECOND) spoken.fill(1, last + 1, i);
    last = i;
  }
  for (let i = 0; i < spoken.length; i++) upTo[i + 1] = upTo[i] + spoken[i];
  const at = (time) => upTo[Math.max(0, Math.min(peaks.length, Math.round(time * PER_SECOND)))];
  return (start, end) => (at(end) - at(start)) / PER_SECOND;
}

function threshold(peaks) {
  const counts = new Uint32Array(256);
  for (const peak of peaks) counts[peak]++;
  const share = (part) => {
    let seen = 0;
    for (let value = 0; value < 256; value++) if ((seen += counts[value]) >= part * peaks.length) return Math.max(value, 1);
    return 255;
  };
  const noise = share(0.1), voice = share(0.95);
  return Math.min(Math.max(noise * OVER_NOISE, voice * UNDER_VOICE), Math.sqrt(noise * voice));
}
