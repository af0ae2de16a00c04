// What a line is and what can be done to it. No page here: every function takes lines and gives new ones.
// A line is frozen: {key, start, end, speaker, flag, text}; `key` names it for as long as the page is open.

export const STEP = 0.05; // seconds that a nudge moves
const SHORTEST = 0.05; // seconds
let lastKey = 0;

export const makeLine = (fields, key = ++lastKey) => Object.freeze({ ...fields, key });
export const fromFile = ([start, end, speaker, flag, text]) => makeLine({ start, end, speaker, flag, text });
export const toFile = (line) => [line.start, line.end, line.speaker, line.flag, line.text];
const cents = (seconds) => Math.round(seconds * 100) / 100;
export const heard = (line) => line.flag !== "";
export const clock = (seconds, digits = 2) => {
  const whole = Math.floor(seconds / 60);
  const rest = (seconds - whole * 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return whole >= 60 ? `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}:${rest}` : `${whole}:${rest}`;
};

// Each piece of the text with Whisper's probability, where the draft has the same word at the same time.
const aligned = new WeakMap();
export function pieces(line, words) {
  const known = aligned.get(line);
  if (known && known.words === words) return known.made;
  const made = line.text.split(/(\s+)/).filter(Boolean).map((text) => ({ text, spelt: spelling(text) }));
  const tokens = made.filter((piece) => piece.spelt);
  const drafted = wordsBetween(words, line.start, line.end);
  // longest common subsequence, from the end
  const best = Array.from({ length: tokens.length + 1 }, () => new Uint16Array(drafted.length + 1));
  for (let i = tokens.length - 1; i >= 0; i--) {
    for (let j = drafted.length - 1; j >= 0; j--) {
      best[i][j] = tokens[i].spelt === drafted[j].spelt ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  for (let i = 0, j = 0; i < tokens.length && j < drafted.length; ) {
    if (tokens[i].spelt === drafted[j].spelt) tokens[i++].word = drafted[j++];
    else if (best[i + 1][j] >= best[i][j + 1]) i++;
    else j++;
  }
  aligned.set(line, { words, made });
  return made;
}

export const spelling = (text) => text.normalize("NFC").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
export const readWords = (rows) =>
  rows.map(([start, end, text, sure]) => ({ start, end, text, sure, spelt: spelling(text) })).filter((word) => word.spelt)
    .sort((a, b) => a.start - b.start);

function firstAtOrAfter(words, time) {
  let low = 0, high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The words whose middle lies there.
export function wordsBetween(words, start, end) {
  const found = [];
  for (let i = firstAtOrAfter(words, start - 2); i < words.length && words[i].start < end; i++) {
    const middle = (words[i].start + words[i].end) / 2;
    if (middle >= start && middle <= end) found.push(words[i]);
  }
  return found;
}

// How sure Whisper was of the word it was least sure of; a line that a person wrote or heard is not in doubt.
export function certainty(line, words) {
  if (heard(line)) return 2;
  let least = 1.5;
  for (const piece of pieces(line, words)) if (piece.word) least = Math.min(least, piece.word.sure);
  return least;
}

const spelt = (text) => ` ${text.split(/\s+/).map(spelling).filter(Boolean).join(" ")} `;
export const readLabels = (rows) => rows.map((row) => ({ ...row, spelt: spelt(row.text) }));

// The clip with the highest number that the line is part of, as it is written now.
function worst(line, clips, number) {
  let found = null, own = null;
  for (const clip of clips) {
    if (clip.start < line.end && clip.end > line.start && clip[number] > (found?.[number] ?? 0) && clip.spelt.includes((own ??= spelt(line.text)))) found = clip;
  }
  return found;
}

export const worstLabel = (line, table) => worst(line, table, "cer"); // clips as Whisper heard them again
const doubt = (label) => (label ? Math.max(label.cer, label.numbers ? 0.25 : 0) : 0); // another number, another sense
export const worstHarm = (line, table) => worst(line, table, "harm"); // clips by what they do to the voice

const highest = (lines, number) => lines.map((line) => [number(line), line]).sort(([a], [b]) => b - a).map(([, line]) => line);

export function order(lines, words, { unsure, unheard, suggested, labels, harm, table, harms }) {
  let kept = unheard ? lines.filter((line) => !heard(line)) : [...lines];
  if (suggested) kept = kept.filter((line) => suggested.has(line.key));
  if (harm) return highest(kept, (line) => worstHarm(line, harms)?.harm ?? 0);
  if (labels) return highest(kept, (line) => doubt(worstLabel(line, table)));
  return unsure ? kept.sort((a, b) => certainty(a, words) - certainty(b, words)) : kept;
}

const EDGE = 0.08; // seconds on both sides of a cut that are looked at
const FEW = 8; // letters; so short a line may have any pace (timbre/project/pace.py)
const letters = (text) => spelling(text).length;

// Seconds of speech per letter: without the silence that a line has around its words.
function paceOf(line, speech) {
  return speech && letters(line.text) >= FEW ? speech(line.start, line.end) / letters(line.text) : null;
}

// `pace` is the least and the most that is usual; `speech` and `clipped` tell how much of a stretch is so.
export function warnings(line, above, words, { pace, speech, clipped }) {
  const found = [];
  if (!line.text.trim()) found.push({ text: "no words: write them, or merge the line", blocks: true });
  if (above && line.start < above.end) found.push({ text: "overlaps the line above", blocks: true });
  if (line.flag === "drop") return found;
  const own = paceOf(line, speech);
  if (own === 0) found.push({ text: "nothing is heard here" });
  else if (own !== null && own < pace[0]) found.push({ text: `fast: ${Math.round(1 / own)} letters a second` });
  if (own !== null && own > pace[1]) found.push({ text: `slow: ${(1 / own).toFixed(1)} letters a second` });
  for (const time of [line.start, line.end]) {
    if (speech && (speech(time - EDGE, time) < EDGE / 2 || speech(time, time + EDGE) < EDGE / 2)) continue; // cut in silence
    for (let i = firstAtOrAfter(words, time - 2); i < words.length && words[i].start < time - EDGE; i++) {
      if (words[i].end > time + EDGE) found.push({ text: `cuts “${words[i].text}”` });
    }
  }
  if (clipped?.(line.start, line.end) > 0) found.push({ text: "clipped" });
  return found;
}

const swap = (lines, index, count, ...made) => [...lines.slice(0, index), ...made, ...lines.slice(index + count)];
export const change = (lines, index, fields) => swap(lines, index, 1, makeLine({ ...lines[index], ...fields }, lines[index].key));

// Where to cut the sound when the text is cut at a character: between two words that Whisper timed, else in proportion.
export function timeAt(line, offset, words) {
  let at = 0, before = null, after = null;
  for (const piece of pieces(line, words)) {
    if (piece.word && at + piece.text.length <= offset) before = piece.word;
    if (piece.word && at >= offset && !after) after = piece.word;
    at += piece.text.length;
  }
  const guess = line.start + ((line.end - line.start) * offset) / Math.max(1, line.text.length);
  if (before && after) return (before.end + after.start) / 2;
  return before ? Math.max(before.end, guess) : after ? Math.min(after.start, guess) : guess;
}

// The space nearest to a time: where to cut the text when the sound is cut.
export function offsetAt(line, time, words) {
  let at = 0, best = null;
  for (const piece of pieces(line, words)) {
    if (!piece.spelt && at) {
      const away = Math.abs(timeAt(line, at, words) - time);
      if (!best || away < best.away) best = { at, away };
    }
    at += piece.text.length;
  }
  return best ? best.at : 0;
}

export function split(lines, index, offset, words, time = null) {
  const line = lines[index];
  const first = line.text.slice(0, offset).trim(), second = line.text.slice(offset).trim();
  if (!first || !second) return { problem: "a line needs words on both sides of the cut" };
  if (line.end - line.start < 2 * SHORTEST) return { problem: "the line is too short to be cut" };
  const cut = cents(Math.min(Math.max(time ?? timeAt(line, offset, words), line.start + SHORTEST), line.end - SHORTEST));
  const flag = line.flag === "drop" ? "drop" : "";
  return { lines: swap(lines, index, 1, makeLine({ ...line, end: cut, text: first, flag }, line.key),
    makeLine({ ...line, start: cut, text: second, flag })) };
}

export function merge(lines, index) {
  const [line, next] = [lines[index], lines[index + 1]];
  if (!next) return { problem: "there is no line below" };
  if (line.speaker !== next.speaker) return { problem: `the line below is spoken by ${next.speaker}` };
  const text = `${line.text.trim()} ${next.text.trim()}`.trim();
  const flag = line.flag === next.flag ? line.flag : "";
  return { lines: swap(lines, index, 2, makeLine({ ...line, end: next.end, text, flag }, line.key)) };
}

// New times, kept inside the recording and clear of the neighbours.
export function moved(lines, index, start, end, seconds) {
  const line = lines[index];
  const low = index ? lines[index - 1].end : 0;
  const high = index + 1 < lines.length ? lines[index + 1].start : Math.floor(seconds * 100) / 100;
  start = cents(Math.min(Math.max(start, low), line.end - SHORTEST));
  end = cents(Math.max(Math.min(end, high), start + SHORTEST));
  if (start === line.start && end === line.end) return { problem: "there is no room: a neighbour or the recording's end is there" };
  return { lines: change(lines, index, { start, end }) };
}
