// Shows what the server says at `results`: how the whole is every second, and each camera's answers as they come.
// A picture is fetched when an answer tells of it and the one before has come: a browser holds six connections to a host,
// which sixteen endless MJPEGs would use up. Text from outside is only ever set as textContent.
"use strict";

const RATE_OVER_S = 5;
const SHOWN_CHANGES = 4;
const SHORTEST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;

const cards = new Map(); // by camera
const onScreen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.card.visible = entry.isIntersecting;
    entry.target.card.fetchPicture();
  }
});

class Card {
  constructor(name) {
    this.name = name;
    this.visible = false;
    this.answers = new Map(); // by prompt: its place in the list
    this.counts = []; // [at, answered] of the last seconds
    this.newest = 0; // number of the newest message
    this.shown = 0;
    this.loading = false;
    this.element = fromTemplate("camera");
    this.element.card = this;
    this.image = this.part("img");
    this.image.alt = name;
    this.image.onload = this.image.onerror = () => {
      this.loading = false;
      this.fetchPicture();
    };
    this.part("h2").textContent = this.part("h2").title = name;
    this.part(".picture").href = `cameras/${encodeURIComponent(name)}.mjpg`;
    document.getElementById("cameras").append(this.element);
    onScreen.observe(this.element);
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  remove() {
    onScreen.unobserve(this.element);
    this.element.remove();
  }

  showStatus(camera, at) {
    this.element.dataset.state = camera.state;
    this.part(".state").textContent = camera.state;
    this.part(".since").textContent = duration(at - camera.since);
    this.part(".reason").textContent = camera.state === "live" ? "" : camera.reason;
    if (camera.size) this.element.style.setProperty("--ratio", `${camera.size[0]} / ${camera.size[1]}`);
    this.counts.push([at, camera.answered]);
    while (this.counts.length > 2 && this.counts[0][0] < at - RATE_OVER_S) this.counts.shift();
    const [before, answered] = this.counts[0];
    const rate = at > before ? Math.max(0, camera.answered - answered) / (at - before) : 0;
    this.figure("in", `${camera.fps.toFixed(1)}/s`);
    this.figure("answered", `${rate.toFixed(1)}/s`);
    this.figure("dropped", String(camera.dropped));
    return rate;
  }

  showAnswers(message) {
    for (const result of message.results) {
      const text = result.objects.length ? labels(result.objects) : result.text;
      const place = this.answers.get(result.prompt) ?? this.newAnswer(result.prompt);
      place.querySelector(".text").textContent = place.querySelector(".text").title = text || "–";
      place.querySelector(".sure").textContent = `${Math.round(result.confidence * 100)} %`;
      this.figure("age", `${Math.round(result.frame_age_ms)} ms`);
    }
    this.newest = message.number;
    this.fetchPicture();
  }

  newAnswer(prompt) {
    const place = fromTemplate("answer");
    place.querySelector(".prompt").textContent = place.querySelector(".prompt").title = prompt;
    this.part(".answers").append(place);
    this.answers.set(prompt, place);
    return place;
  }

  figure(name, text) {
    this.part(`[data-figure="${name}"]`).textContent = text;
  }

  fetchPicture() {
    if (this.loading || !this.visible || document.hidden || this.shown === this.newest) return;
    this.loading = true;
    this.shown = this.newest;
    this.image.src = `cameras/${encodeURIComponent(this.name)}.jpg?after=${this.shown}`;
  }
}

function cardOf(name) {
  if (!cards.has(name)) cards.set(name, new Card(name));
  return cards.get(name);
}

function showStatus(status) {
  const names = new Set(status.cameras.map((camera) => camera.name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.remove();
    cards.delete(name);
  }
  let rate = 0;
  for (const camera of status.cameras) rate += cardOf(camera.name).showStatus(camera, status.at);
  const grid = document.getElementById("cameras");
  grid.style.setProperty("--columns", Math.ceil(Math.sqrt(status.cameras.length)));
  grid.toggleAttribute("data-alone", status.cameras.length === 1);

  const live = status.cameras.filter((camera) => camera.state === "live").length;
  const loop = status.loop_alive ? "" : " · the answering loop does not run";
  document.getElementById("summary").textContent =
    `${live} of ${status.cameras.length} live · ${rate.toFixed(1)} frames answered/s · ` +
    `${status.answered} frames and ${status.tokens} tokens in ${duration(status.at - status.started_at)}${loop}`;
  document.getElementById("sinks").replaceChildren(...status.sinks.map(sinkLine));
}

function sinkLine(sink) {
  const line = document.createElement("li");
  line.toggleAttribute("data-ready", sink.ready);
  const counts = [`${sink.delivered} delivered`];
  for (const [count, what] of [[sink.queued, "queued"], [sink.spooled, "spooled"], [sink.dropped, "dropped"], [sink.failed, "failed"]]) {
    if (count) counts.push(`${count} ${what}`);
  }
  line.textContent = `${sink.name}: ${counts.join(", ")}${sink.reason ? ` (${sink.reason})` : ""}`;
  return line;
}

function showChange(change) {
  const line = document.createElement("li");
  const time = new Date(change.at * 1000).toLocaleTimeString();
  const why = change.reason ? `: ${change.reason}` : "";
  line.textContent = `${time}  ${change.camera} is ${change.after}${why} (was ${change.before} for ${duration(change.lasted_s)})`;
  const list = document.getElementById("changes");
  list.prepend(line);
  while (list.children.length > SHOWN_CHANGES) list.lastChild.remove();
}

function labels(objects) {
  const counts = new Map();
  for (const { label } of objects) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].map(([label, count]) => (count > 1 ? `${count} × ${label}` : label)).join(", ");
}

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

function showConnection(on, text) {
  const element = document.getElementById("connection");
  element.toggleAttribute("data-on", on);
  element.textContent = text;
}

function listen(waitMs) {
  const address = new URL("results", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  let next = waitMs;
  socket.onopen = () => {
    next = SHORTEST_WAIT_MS;
    showConnection(true, "connected");
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "status") showStatus(message);
    if (message.type === "answered") cardOf(message.camera).showAnswers(message);
    if (message.type === "state") showChange(message);
  };
  socket.onclose = async () => {
    showConnection(false, await whyLost());
    setTimeout(() => listen(Math.min(2 * next, LONGEST_WAIT_MS)), next);
  };
}

async function whyLost() {
  try {
    const answer = await fetch("status");
    if (answer.status === 401) return "the token is another now; open the address that palijet printed";
  } catch {
    return "the server is gone; trying again"; // fetch says no more than this
  }
  return "connection lost; trying again";
}

document.addEventListener("visibilitychange", () => {
  for (const card of cards.values()) card.fetchPicture();
});
listen(SHORTEST_WAIT_MS);
