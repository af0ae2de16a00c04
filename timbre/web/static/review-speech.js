// How much of a stretch lies within spans of time: of speech, or of what is clipped. The spans are measured in Python
// (timbre/web/review/sound_facts.py); here they are only added up.

// Gives (start, end) → seconds of the spans [[start, end], …], in order, that lie between them.
export function secondsIn(spans) {
  const upTo = [0];
  for (const [start, end] of spans) upTo.push(upTo[upTo.length - 1] + end - start);
  const before = (time) => {
    let low = 0, high = spans.length; // spans that begin before the time
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle][0] < time) low = middle + 1;
      else high = middle;
    }
    return low ? upTo[low - 1] + Math.min(time, spans[low - 1][1]) - spans[low - 1][0] : 0;
  };
  return (start, end) => Math.max(0, before(end) - before(start));
}
