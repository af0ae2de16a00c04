// Players with one button and a waveform to seek in. Without this script the browser's own controls are there.
"use strict";
document.documentElement.classList.add("live");

const ICONS = { play: "M3 1.5v13l11-6.5z", pause: "M3 2h3.5v12H3zM9.5 2H13v12H9.5z" };
const players = [...document.querySelectorAll(".player")].map(makePlayer);
let current = null; // only one sounds at a time

function makePlayer(box) {
  const audio = box.querySelector("audio");
  const wave = box.querySelector(".wave");
  const time = box.querySelector(".time");
  const seconds = Number(box.dataset.seconds);
  const name = audio.getAttribute("aria-label");

  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS.play}"/></svg>`;
  button.setAttribute("aria-label", `Play ${name}`);
  const seek = document.createElement("div");
  seek.className = "seek";
  for (const [key, value] of Object.entries({
    role: "slider", tabindex: 0, "aria-label": `Position in ${name}`, "aria-valuemin": 0, "aria-valuemax": seconds.toFixed(1),
  })) seek.setAttribute(key, value);
  const played = wave.cloneNode(true);
  played.classList.add("played");
  box.insertBefore(button, wave);
  box.insertBefore(seek, wave);
  seek.append(wave, played);

  const player = { audio, box, start, stop, onend: null };

  function show() {
    const share = Math.min(1, audio.currentTime / seconds);
    played.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
    const text = `${audio.currentTime.toFixed(1)} of ${seconds.toFixed(1)} seconds`;
    seek.setAttribute("aria-valuenow", audio.currentTime.toFixed(1));
    seek.setAttribute("aria-valuetext", text);
    time.textContent = `${(audio.paused && !audio.currentTime ? seconds : audio.currentTime).toFixed(1)} s`;
    if (!audio.paused) requestAnimationFrame(show);
  }
  function state(kind) {
    button.querySelector("path").setAttribute("d", ICONS[kind]);
    button.setAttribute("aria-label", `${kind === "play" ? "Play" : "Pause"} ${name}`);
    show();
  }
  function start() {
    if (current && current !== player) current.stop();
    current = player;
    return audio.play().catch(() => stop());
  }
  function stop() {
    player.onend = null;
    audio.pause();
  }
  function move(to) {
    audio.currentTime = Math.max(0, Math.min(seconds, to));
    show();
  }

  button.addEventListener("click", () => (audio.paused ? start() : stop()));
  audio.addEventListener("play", () => state("pause"));
  audio.addEventListener("pause", () => state("play"));
  audio.addEventListener("ended", () => {
    const next = player.onend;
    player.onend = null;
    audio.currentTime = 0;
    state("play");
    if (next) next();
  });
  seek.addEventListener("pointerdown", (event) => {
    const place = seek.getBoundingClientRect();
    move((seconds * (event.clientX - place.left)) / place.width);
    start();
  });
  seek.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: 0.5, ArrowUp: 0.5, ArrowLeft: -0.5, ArrowDown: -0.5, Home: -Infinity, End: Infinity };
    if (event.key in moves) move(audio.currentTime + moves[event.key]);
    else if (event.key === " " || event.key === "Enter") audio.paused ? start() : stop();
    else return;
    event.preventDefault();
  });
  show();
  return player;
}

// A prompt's four takes one after the other: the way to compare voices is to hear them in a row.
for (const row of document.querySelectorAll(".prompt")) {
  const takes = players.filter((player) => row.contains(player.box));
  const all = row.querySelector(".all");
  all.hidden = false;
  all.addEventListener("click", () => playFrom(0));
  function playFrom(index) {
    if (index >= takes.length) return;
    takes[index].start();
    takes[index].onend = () => setTimeout(() => playFrom(index + 1), 350);
  }
}
