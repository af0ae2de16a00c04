// Hearing: a line from its start to its end, or from where one clicks.

import { $, note } from "./review-dom.js";
import { clock } from "./review-model.js";

export function setUpSound(page) {
  const { state, audio, wave } = page;
  let until = Infinity;

  const line = () => state.lines[page.current()];
  const playLine = () => { if (line()) playFrom(line().start, line().end); };
  const playOrPause = () => (audio.paused ? playLine() : audio.pause());

  function playFrom(start, end) {
    until = end;
    audio.currentTime = start;
    audio.playbackRate = Number($("speed").value);
    audio.play().catch((error) => { if (error.name !== "AbortError") note("the sound cannot be played here"); });
  }

  function seek(time) {
    const there = state.lines.find((one) => time >= one.start && time < one.end);
    if (there) page.select(there.key);
    else wave.move(time - wave.span / 2);
    playFrom(time, there ? there.end : Math.min(time + 10, state.seconds));
  }

  function follow() {
    wave.set({ playhead: audio.currentTime });
    tellTime();
    if (audio.currentTime >= until) audio.pause();
    if (!audio.paused) requestAnimationFrame(follow);
  }

  function tellTime() {
    $("time").textContent = line() ? `${clock(audio.paused ? line().start : audio.currentTime)} – ${clock(line().end)}` : "";
  }

  audio.addEventListener("play", () => { document.body.classList.add("playing"); $("play").setAttribute("aria-label", "Pause"); follow(); });
  audio.addEventListener("pause", () => {
    document.body.classList.remove("playing");
    $("play").setAttribute("aria-label", "Play the line");
    wave.set({ playhead: audio.currentTime });
  });
  audio.addEventListener("error", () => { if (audio.src) note("the sound cannot be loaded; `dvc repro fetch` brings it"); });
  $("speed").addEventListener("change", () => { audio.playbackRate = Number($("speed").value); });
  $("play").addEventListener("click", playOrPause);
  Object.assign(page, { playLine, playOrPause, seek, tellTime });
}
