// A line's words against those that a draft has at the same time. No page here.

import { spelling, wordsBetween } from "./review-model.js";

const NEAR = 0.35; // seconds by which two drafts may time the same word differently

const known = new WeakMap();

// What the draft would make of the line, or nothing where both say the same or the draft is silent there:
// {text, pieces: [[unchanged, gone, come], …], name}. `name` says what was heard, for a dismissal to be remembered by.
export function suggestion(line, above, below, words) {
  const kept = known.get(line);
  if (kept && kept.words === words && kept.above === above && kept.below === below) return kept.made;
  const made = compared(line, above, below, words);
  known.set(line, { words, above, below, made });
  return made;
}

function compared(line, above, below, words) {
  const own = tokens(line.text);
  let heard = wordsBetween(words, line.start - NEAR, line.end + NEAR);
  const steps = aligned(own, heard), same = steps.filter(([i, j]) => i !== null && j !== null);
  const first = same[0]?.[1] ?? heard.length, last = same.at(-1)?.[1] ?? -1;
  const middle = (word) => (word.start + word.end) / 2;
  // at the edges a word may be the neighbour's
  const strange = (word, j) => {
    if (j < first && (middle(word) < line.start || (middle(word) < line.start + NEAR && word.spelt === tokens(above?.text ?? "").at(-1)?.spelt))) return true;
    return j > last && (middle(word) > line.end || (middle(word) > line.end - NEAR && word.spelt === tokens(below?.text ?? "")[0]?.spelt));
  };
  const left = new Set(heard.map((word, j) => (strange(word, j) ? j : -1)));
  heard = heard.filter((_, j) => !left.has(j));
  if (!heard.length) return null;
  const hunks = grouped(aligned(own, heard), own, heard);
  if (!hunks.some(([, gone, come]) => gone || come)) return null;
  const text = hunks.map(([unchanged, , come]) => unchanged + come).join("").replace(/\s+/g, " ").trim();
  return { text, pieces: hunks, name: `${Math.round(heard[0].start)} ${heard.map((word) => word.spelt).join(" ")}` };
}

const tokens = (text) => (text.match(/\S+/g) ?? []).map((piece) => ({ text: piece, spelt: spelling(piece) })).filter((token) => token.spelt);

// Pairs (own, heard) in order, null where one has no match: the longest common subsequence.
function aligned(own, heard) {
  const best = Array.from({ length: own.length + 1 }, () => new Uint16Array(heard.length + 1));
  for (let i = own.length - 1; i >= 0; i--) {
    for (let j = heard.length - 1; j >= 0; j--) {
      best[i][j] = own[i].spelt === heard[j].spelt ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  const steps = [];
  for (let i = 0, j = 0; i < own.length || j < heard.length; ) {
    if (i < own.length && j < heard.length && own[i].spelt === heard[j].spelt) steps.push([i++, j++]);
    else if (i < own.length && (j === heard.length || best[i + 1][j] >= best[i][j + 1])) steps.push([i++, null]);
    else steps.push([null, j++]);
  }
  return steps;
}

// [unchanged, gone, come] in order; what is unchanged is written as in the line, with the spaces around what is not.
function grouped(steps, own, heard) {
  const hunks = [["", "", ""]];
  let before = -1; // kind of the step before: 0 unchanged, 1 gone, 2 come
  for (const [i, j] of steps) {
    const kind = j === null ? 1 : i === null ? 2 : 0, text = kind === 2 ? heard[j].text : own[i].text;
    if (kind === 0 && before > 0) hunks.push(["", "", ""]);
    const hunk = hunks.at(-1);
    if (kind && before === 0) hunk[0] += " ";
    if (kind === 0 && before > 0) hunk[0] = " ";
    hunk[kind] += (hunk[kind].trim() ? " " : "") + text;
    before = kind;
  }
  return hunks;
}
