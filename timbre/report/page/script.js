// Players with one button and a spectrogram to seek in. Without this script the browser's own controls are there.
"use strict";
document.documentElement.classList.add("live");

const ICONS = { play: "M3 1.5v13l11-6.5z", pause: "M3 2h3.5v12H3zM9.5 2H13v12H9.5z" };
const players = [...document.querySelectorAll(".player")].map(makePlayer);
let current = null; // only one sounds at a time

function makePlayer(box) {
  const audio = box.querySelector("audio");
  const picture = box.querySelector(".picture");
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
  const head = document.createElement("i");
  head.className = "head";
  box.insertBefore(button, picture);
  box.insertBefore(seek, picture);
  seek.append(picture, head);

  const player = { audio, box, start, stop, onend: null };

  function show() {
    const share = Math.min(1, audio.currentTime / seconds);
    head.style.setProperty("--played", `${100 * share}%`);
    seek.classList.toggle("begun", !audio.paused || audio.currentTime > 0);
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

// A prompt's takes one after the other: the way to compare voices is to hear them in a row.
for (const row of document.querySelectorAll(".prompt")) {
  const takes = players.filter((player) => row.querySelector(".takes").contains(player.box));
  const all = row.querySelector(".all");
  all.hidden = false;
  all.addEventListener("click", () => playFrom(0));
  function playFrom(index) {
    if (index >= takes.length) return;
    takes[index].start();
    takes[index].onend = () => setTimeout(() => playFrom(index + 1), 350);
  }
}

// From a list to the sample that it names, which may be behind a fold: shown, and heard.
for (const link of document.querySelectorAll(".worst .to")) {
  link.addEventListener("click", () => {
    const take = document.getElementById(link.hash.slice(1));
    show("");
    const fold = take.closest("details");
    if (fold) fold.open = true;
    players.find((player) => take.contains(player.box)).start();
  });
}

const filter = document.querySelector(".filter");
filter.hidden = filter.querySelectorAll("button").length < 3; // all of one kind
for (const button of filter.querySelectorAll("button")) button.addEventListener("click", () => show(button.dataset.kind));
function show(kind) {
  for (const button of filter.querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.kind === kind);
  for (const row of document.querySelectorAll(".prompt")) row.hidden = kind !== "" && row.dataset.kind !== kind;
}
