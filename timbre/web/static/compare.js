// A blind listening test: one screen after the other, each answered once all its sounds were heard. The same page is
// served by `timbre compare` and exported as one file; then its sounds are in the page, and answers are saved as a file.

const at = (id) => document.getElementById(id);
const make = (tag, name = "", text = "") => Object.assign(document.createElement(tag), { className: name, textContent: text });
const inside = at("test") ? JSON.parse(at("test").textContent) : null;
const LABELS = "ABCDEFGH";
const HALF = 50; // where a rating begins

const served = {
  overview: () => ask("api/test"),
  screen: (number) => ask(`api/trial/${number}`),
  sound: async (name) => {
    const answer = await fetch(`sound/${name}`);
    if (!answer.ok) throw new Error("the sound cannot be loaded");
    return answer.arrayBuffer();
  },
  answer: (trial, answer, seconds) => ask("api/answer", { trial, answer, seconds }),
};
const exported = {
  overview: async () => ({ ...inside.overview, answered: Object.keys(kept().answers).map(Number) }),
  screen: async (number) => inside.screens[number - 1],
  sound: async (name) => Uint8Array.from(atob(inside.sounds[name]), (letter) => letter.charCodeAt(0)).buffer,
  answer: async (trial, answer, seconds) => {
    const held = kept();
    held.answers[trial] = [answer, seconds];
    memory = held;
    try { localStorage.setItem(`timbre-${inside.overview.test}`, JSON.stringify(held)); } catch { /* a page on a disk may have no storage */ }
  },
};
const source = inside ? exported : served;

let memory = null;
function kept() {
  if (memory) return memory;
  try { memory = JSON.parse(localStorage.getItem(`timbre-${inside.overview.test}`)); } catch { /* as above */ }
  memory ||= { listener: `guest-${[...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`, answers: {} };
  return memory;
}

async function ask(path, body) {
  const how = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, how);
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

function warn(message) {
  at("warning").textContent = message;
  at("warning").hidden = !message;
}

let context = null, running = null, test = null, screen = null, players = [], began = 0, busy = false;

async function play(player) {
  const again = running?.player === player;
  silence();
  if (again) return;
  context ||= new AudioContext();
  await context.resume();
  const node = new AudioBufferSourceNode(context, { buffer: player.buffer });
  node.connect(context.destination);
  running = { player, node };
  player.button.classList.add("playing");
  node.onended = () => { if (running?.node === node) silence(); };
  node.start();
  player.heard = true;
  player.button.classList.add("heard");
  ready();
}

function silence() {
  if (!running) return;
  running.player.button.classList.remove("playing");
  running.node.onended = null;
  running.node.stop();
  running = null;
}

function playSign() {
  const drawn = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const picture = drawn("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
  picture.append(drawn("path", { d: "M3 1.5v13l11-6.5z" }));
  return picture;
}

function playerOf(label, key, buffer) {
  const button = make("button", "player"), sign = make("span", "sign");
  button.type = "button";
  button.setAttribute("aria-label", `Play ${label}`);
  sign.append(playSign());
  button.append(sign, make("b", "", label), make("kbd", "", key));
  const player = { button, buffer, key, label, heard: false };
  button.addEventListener("click", () => play(player));
  return player;
}

async function decoded(name) {
  const bytes = await source.sound(name);
  return new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes);
}

async function show(number) {
  screen = await source.screen(number);
  const buffers = await Promise.all(screen.sounds.map(decoded));
  const reference = screen.reference && await decoded(screen.reference);
  document.body.classList.toggle("rating", screen.kind === "rating");
  players = buffers.map((buffer, place) => playerOf(LABELS[place], String(place + 1), buffer));
  const name = { ab: "The speaker", abx: "X", rating: "The speaker" }[screen.kind];
  const extra = reference ? playerOf(name, "0", reference) : null;
  at("question").textContent = test.question;
  at("text").textContent = screen.text;
  at("text").hidden = !screen.text;
  at("players").replaceChildren(...(extra ? [extra.button] : []), ...(screen.kind === "rating" ? sliders() : players.map((one) => one.button)));
  if (extra) players.push(Object.assign(extra, { heard: screen.kind === "ab" }));
  at("answers").replaceChildren(...choices());
  for (const [id, hidden] of [["intro", true], ["trial", false], ["end", true]]) at(id).hidden = hidden;
  tell();
  began = performance.now();
  document.body.dataset.trial = number;
  ready();
}

function sliders() {
  const rows = players.map((player) => {
    const row = make("div", "rate"), input = make("input"), output = make("output", "", "–");
    Object.assign(input, { type: "range", min: 0, max: 100, step: 1, value: HALF });
    input.setAttribute("aria-label", `Rating of ${player.label}`);
    input.addEventListener("input", () => { output.textContent = input.value; player.rating = input.value; ready(); });
    row.append(player.button, input, output);
    return row;
  });
  const scale = make("p", "scale");
  scale.append(make("span", "", "very different"), make("span", "", "the same"));
  return [...rows, scale];
}

const OPTIONS = {
  ab: [["first", "A", "←"], ["neither", "No difference", "↓"], ["second", "B", "→"]],
  abx: [["first", "X is A", "←"], ["second", "X is B", "→"]],
  rating: [["", "Next", "Enter"]],
};
const ARROWS = { ArrowLeft: "first", ArrowDown: "neither", ArrowRight: "second" };

function choices() {
  return OPTIONS[screen.kind].map(([answer, label, key]) => {
    const button = make("button", screen.kind === "rating" ? "main" : "", `${label} `);
    button.type = "button";
    button.dataset.answer = answer;
    button.append(make("kbd", "", key));
    button.addEventListener("click", () => answered(answer));
    return button;
  });
}

const unheard = () => players.filter((player) => !player.heard);
const unrated = () => (screen.kind === "rating" ? players.filter((player) => player.key !== "0" && player.rating === undefined) : []);
const open = () => !busy && !unheard().length && !unrated().length;

function ready() {
  for (const button of at("answers").children) button.disabled = !open();
  const names = (some) => some.map((player) => player.label).join(", ").replace(/, ([^,]*)$/, " and $1").replace("The", "the");
  at("hint").textContent = unheard().length ? `Hear ${names(unheard())} first` : unrated().length ? `Rate ${names(unrated())}` : "";
}

function tell() {
  const done = test.answered.length;
  at("progress").textContent = `${Math.min(done + 1, test.screens)} of ${test.screens}`;
  at("bar").style.width = `${(100 * done) / test.screens}%`;
}

async function answered(choice) {
  if (!open()) return;
  busy = true;
  ready();
  const answer = screen.kind === "rating" ? players.filter((player) => player.key !== "0").map((player) => player.rating).join(",") : choice;
  const seconds = Math.round((performance.now() - began) / 10) / 100;
  try {
    await source.answer(screen.number, answer, seconds);
    silence();
    test.answered.push(screen.number);
    warn("");
    busy = false;
    await next();
  } catch (error) {
    warn(error instanceof TypeError ? "The server does not answer; start `timbre compare` again" : error.message);
  } finally {
    busy = false;
    ready();
  }
}

async function next() {
  const number = Array.from({ length: test.screens }, (_, place) => place + 1).find((place) => !test.answered.includes(place));
  if (number) return show(number);
  for (const [id, hidden] of [["intro", true], ["trial", true], ["end", false]]) at(id).hidden = hidden;
  at("progress").textContent = `${test.screens} of ${test.screens}`;
  at("bar").style.width = "100%";
  at("save").hidden = !inside;
  at("result").textContent = inside
    ? "Save the answers as a file, and send it back to whoever gave you this page."
    : `Your answers are in data/opinions/${test.listener}.tsv. You can close this page; Ctrl+C ends timbre compare.`;
  document.body.dataset.done = "";
}

const first = () => next().catch((error) => warn(error.message));

function save() {
  const { listener, answers } = kept();
  const rows = Object.entries(answers).map(([trial, [answer, seconds]]) => [trial, answer, seconds].join("\t"));
  const text = [`# timbre answers ${test.test} ${listener}`, "trial\tanswer\tseconds", ...rows, ""].join("\n");
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
  link.download = `answers-${test.test}-${listener}.tsv`;
  link.click();
}

function pressed(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (!at("intro").hidden) {
    if (event.key === "Enter" && event.target.tagName !== "BUTTON") first();
  } else if (!at("trial").hidden) {
    const player = players.find((one) => one.key === event.key);
    const slider = event.target.type === "range";
    if (player) play(player);
    else if (event.key === "Enter" && screen.kind === "rating" && event.target.tagName !== "BUTTON") answered("");
    else if (!slider && ARROWS[event.key] && OPTIONS[screen.kind].some(([answer]) => answer === ARROWS[event.key])) answered(ARROWS[event.key]);
    else return;
    event.preventDefault();
  }
}

async function begin() {
  test = await source.overview();
  at("question-first").textContent = test.question;
  at("length").textContent = `${test.screens} trials, about ${Math.max(1, Math.round(test.screens / (test.kind === "rating" ? 1.5 : 4)))} minutes.`;
  at("kept").textContent = inside
    ? "What is kept: your answers and the seconds that each took, under a random name. Nothing is sent; at the end you save a file."
    : `What is kept: your answers and the seconds that each took, in data/opinions/${test.listener}.tsv.`;
  tell();
  at("begin").addEventListener("click", first);
  at("save").addEventListener("click", save);
  addEventListener("keydown", pressed);
  document.body.dataset.ready = "";
}

begin().catch((error) => warn(error.message));
