// Asks the server for speech, plays it while it comes, and draws it. Raw samples: 24 kHz, 16 bits.
const RATE = 24000, MOST = 4, AHEAD = 0.08; // seconds until the first piece is played
const at = (id) => document.getElementById(id);
let context = null, running = null;

const key = () => sessionStorage.getItem("key") || "";
const headers = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

function warn(message) {
  at("warning").textContent = message;
  at("warning").hidden = !message;
}

async function listVoices() {
  const answer = await fetch("v1/audio/voices");
  const { voices } = await answer.json();
  voices.forEach((voice, number) => {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", name: "voice", value: voice.id, checked: number === 0 });
    box.dataset.version = voice.version;
    label.append(box, ` ${voice.name} `);
    const version = Object.assign(document.createElement("span"), { className: "soft", textContent: voice.version.slice(0, 8) });
    label.append(version);
    at("voices").append(label);
  });
}

// What is heard here, back to the recordings: read when it is opened.
function traced(version) {
  const part = Object.assign(document.createElement("details"), { className: "trace" });
  const head = document.createElement("summary"), text = document.createElement("pre");
  head.append("Trace of version ", Object.assign(document.createElement("code"), { textContent: version.slice(0, 8) }));
  text.tabIndex = 0; // long lines are scrolled, with the keyboard too
  part.dataset.version = version;
  part.append(head, text);
  part.addEventListener("toggle", async () => {
    if (!part.open || text.textContent) return;
    text.textContent = "…";
    try {
      const answer = await fetch(`v1/trace/${part.dataset.version}`, { headers: headers() });
      const known = await answer.json();
      text.textContent = answer.ok ? known.text : known.error.message;
    } catch (error) {
      text.textContent = error.message;
    }
    part.dataset.read = "true";
  });
  return part;
}

function take(voice) {
  const card = document.createElement("article");
  card.className = "take";
  const element = (tag, className = "", textContent = "") => Object.assign(document.createElement(tag), { className, textContent });
  card.append(element("h2", "", voice.value), element("canvas"), element("p", "said"), element("p", "soft"), traced(voice.dataset.version));
  at("takes").append(card);
  return card;
}

function draw(card, samples, played) {
  const canvas = card.querySelector("canvas"), scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d"), middle = canvas.height / 2, columns = Math.floor(canvas.width / (3 * scale));
  const total = samples.reduce((sum, piece) => sum + piece.length, 0), length = Math.max(total, 2 * RATE);
  const peaks = new Float32Array(columns);
  let place = 0;
  for (const piece of samples) for (const value of piece) {
    const column = Math.min(columns - 1, Math.floor((place++ / length) * columns));
    peaks[column] = Math.max(peaks[column], Math.abs(value));
  }
  const style = getComputedStyle(document.documentElement);
  peaks.forEach((peak, column) => {
    pen.fillStyle = style.getPropertyValue(column / columns < (played * RATE) / length ? "--tuned" : "--soft");
    pen.fillRect(column * 3 * scale, middle - peak * middle, 2 * scale, Math.max(scale, 2 * peak * middle));
  });
}

async function speak(voice, abort) {
  const card = take(voice), asked = performance.now(), note = card.querySelector(".soft");
  const body = {
    input: at("text").value, model: "timbre", voice: voice.value, response_format: "pcm",
    speed: Number(at("speed").value), seed: Number(at("seed").value),
  };
  const answer = await fetch("v1/audio/speech", {
    method: "POST", signal: abort.signal, body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...headers() },
  });
  if (!answer.ok) {
    at("locked").hidden = at("locked").hidden && answer.status !== 401;
    throw new Error((await answer.json()).error.message);
  }
  card.querySelector(".trace").replaceWith(traced(answer.headers.get("x-timbre-version"))); // it may have been promoted since
  card.querySelector(".said").textContent = decodeURIComponent(answer.headers.get("x-timbre-text") || "");
  const warning = answer.headers.get("x-timbre-warning");
  if (warning) warn(decodeURIComponent(warning));
  const reader = answer.body.getReader(), samples = [];
  let left = new Uint8Array(0), due = 0, start = 0, first = 0, made = 0;
  const progress = () => {
    if (abort.signal.aborted) return;
    draw(card, samples, start ? context.currentTime - start : 0);
    if (!start || context.currentTime < due) requestAnimationFrame(progress);
  };
  requestAnimationFrame(progress);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const bytes = new Uint8Array(left.length + value.length);
    bytes.set(left); bytes.set(value, left.length);
    const whole = bytes.length & ~1, view = new DataView(bytes.buffer, 0, whole);
    left = bytes.slice(whole);
    if (!whole) continue;
    const piece = Float32Array.from({ length: whole / 2 }, (_, i) => view.getInt16(2 * i, true) / 32768);
    samples.push(piece);
    made += piece.length / RATE;
    first ||= performance.now() - asked;
    const buffer = context.createBuffer(1, piece.length, RATE), source = context.createBufferSource();
    buffer.copyToChannel(piece, 0);
    source.buffer = buffer;
    source.connect(context.destination);
    if (due < context.currentTime) due = context.currentTime + AHEAD;
    start ||= due;
    source.start(due);
    due += piece.length / RATE;
  }
  const took = (performance.now() - asked) / 1000;
  note.textContent = `${made.toFixed(1)} s of sound in ${took.toFixed(1)} s (${(took / made).toFixed(2)} of real time), first after ${(first / 1000).toFixed(2)} s`;
  card.dataset.done = "true";
  const wait = Math.max(0, due - context.currentTime);
  await new Promise((resolve) => setTimeout(resolve, Math.min(wait, 60) * 1000));
  draw(card, samples, made);
}

async function speakAll(event) {
  event?.preventDefault();
  const chosen = [...document.querySelectorAll("input[name=voice]:checked")];
  if (!chosen.length || chosen.length > MOST) return warn(`Choose one to ${MOST} versions.`);
  if (!at("locked").hidden) sessionStorage.setItem("key", at("key").value);
  stop();
  warn("");
  at("takes").replaceChildren();
  context ||= new AudioContext({ sampleRate: RATE });
  await context.resume();
  const abort = (running = new AbortController());
  at("speak").disabled = true; at("stop").disabled = false;
  try {
    for (const voice of chosen) await speak(voice, abort); // one after the other, so that the ear can compare
  } catch (error) {
    if (error.name !== "AbortError") warn(error.message);
  }
  if (running === abort) { at("speak").disabled = false; at("stop").disabled = true; }
}

function stop() {
  running?.abort();
  running = null;
  if (context) { context.close(); context = null; }
  at("speak").disabled = false; at("stop").disabled = true;
}

at("ask").addEventListener("submit", speakAll);
at("stop").addEventListener("click", stop);
at("speed").addEventListener("input", () => { at("pace").textContent = Number(at("speed").value).toFixed(2); });
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) speakAll(event);
  if (event.key === "Escape") stop();
});
await listVoices();
document.body.dataset.ready = "true";
