// The query: its stretch on a timeline, its clips, what is seen in it, and the link to a result.
import { announce } from "./swap.js";

function clock(seconds) {
  if (seconds < 60) return seconds.toFixed(1);
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

// Mark a start and an end: two sliders, or a drag along the track.

function startRange(form) {
  if ("started" in form.dataset) return;
  form.dataset.started = "";
  const [start, end] = form.querySelectorAll("input[type=range]");
  const seconds = Number(form.dataset.seconds);
  const track = form.querySelector(".track");
  const held = form.querySelector("svg .held");
  const output = form.querySelector("output");
  const marked = form.querySelector(".marked");
  let showing = 0;

  function draw() {
    const [from, to] = [Number(start.value), Number(end.value)];
    held.setAttribute("x", String(1000 * from / seconds));
    held.setAttribute("width", String(1000 * (to - from) / seconds));
    output.textContent = `${clock(from)}–${clock(to)} s`;
    for (const each of [start, end]) each.setAttribute("aria-valuetext", `${clock(Number(each.value))} seconds`);
    clearTimeout(showing);
    if (form.dataset.videoId && to - from < 60) showing = setTimeout(() => show(from, to), 400);
  }

  function show(from, to) {
    const address = `/api/videos/${form.dataset.videoId}/preview?start_seconds=${from}&end_seconds=${to}`;
    const image = document.createElement("img");
    image.alt = "The marked stretch";
    image.src = matchMedia("(prefers-reduced-motion: reduce)").matches ? `${address}&kind=still` : address;
    image.addEventListener("load", () => {
      const preview = document.createElement("div");
      preview.className = "preview";
      preview.append(image);
      marked.replaceChildren(preview);
      marked.hidden = false;
    });
  }

  const least = Math.min(0.1, seconds / 2);
  start.addEventListener("input", () => {
    start.value = String(Math.min(Number(start.value), seconds - least));
    if (Number(end.value) - Number(start.value) < least) end.value = String(Number(start.value) + least);
    draw();
  });
  end.addEventListener("input", () => {
    end.value = String(Math.max(Number(end.value), least));
    if (Number(end.value) - Number(start.value) < least) start.value = String(Number(end.value) - least);
    draw();
  });
  for (const each of [start, end]) each.addEventListener("keydown", (event) => {  // 0.01 s a key would take all day
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!steps) return;
    event.preventDefault();
    each.value = String(Number(each.value) + steps * Math.max(0.1, Math.round(seconds / 10) / 10));
    each.dispatchEvent(new Event("input"));
  });

  let from = null;
  const at = (event) => {
    const box = track.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * seconds;
  };
  track.addEventListener("pointerdown", (event) => {
    if (event.target.matches("input") || event.button) return;
    from = at(event);
    track.setPointerCapture(event.pointerId);
  });
  track.addEventListener("pointermove", (event) => {
    if (from === null || Math.abs(at(event) - from) < least) return;
    start.value = String(Math.min(from, at(event)));
    end.value = String(Math.max(from, at(event)));
    draw();
  });
  for (const kind of ["pointerup", "pointercancel"]) track.addEventListener(kind, () => { from = null; });
}

// Clips: those that are chosen, and pictures that are still being made.

function startStrip(form) {
  if ("started" in form.dataset) return;
  form.dataset.started = "";
  const button = form.querySelector("button[type=submit]");
  const count = () => {
    const number = form.querySelectorAll("input[name=clips]:checked").length;
    button.disabled = number === 0;
    button.textContent = number ? `Search with ${number} chosen` : "Search with the chosen";
  };
  form.addEventListener("change", count);
  count();
  if (form.dataset.queryId && [...form.querySelectorAll("[data-number]")].some((each) => !each.querySelector("img"))) {
    fillPictures(form);
  }
}

async function fillPictures(form) {
  const answer = await fetch(`/api/queries/${form.dataset.queryId}`).catch(() => null);
  if (!answer?.ok || !form.isConnected) return;
  const told = await answer.json();
  const shown = new Set(told.clips.filter((each) => each.has_preview).map((each) => String(each.number)));
  for (const place of form.querySelectorAll("[data-number]")) {
    if (place.querySelector("img") || !shown.has(place.dataset.number)) continue;
    const address = `/api/queries/${form.dataset.queryId}/clips/${place.dataset.number}/preview`;
    const image = document.createElement("img");
    image.alt = "";
    image.dataset.moving = address;
    image.src = `${address}?kind=still`;
    place.append(image);
  }
  if (!told.are_previews_made) setTimeout(() => fillPictures(form), 500);
}

// What is seen

function listClasses(top) {
  const list = document.createElement("ol");
  list.className = "classes";
  for (const { label, probability } of top) {
    const [item, name, meter, share] = ["li", "span", "meter", "span"].map((each) => document.createElement(each));
    name.className = "name";
    name.textContent = label;
    meter.value = probability;
    meter.setAttribute("aria-label", label);
    share.className = "quiet";
    const percent = Math.round(100 * probability);
    share.textContent = percent < 1 ? "< 1 %" : percent > 99 && probability < 1 ? "> 99 %" : `${percent} %`;
    item.append(name, " ", meter, " ", share);
    list.append(item);
  }
  return list;
}

async function recognise(place) {
  const button = place.querySelector("button");
  button.disabled = true;
  announce("It is being looked at.");
  let told;
  try {
    const answer = await fetch("/api/classify", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ video_id: Number(place.dataset.videoId), wait_seconds: 60 }),
    });
    told = await answer.json();
  } catch {
    told = { error: "The server does not answer." };
  }
  if (told.top) {
    place.replaceChildren(listClasses(told.top));
    announce(`Most probable: ${told.top[0].label}`);
    return;
  }
  button.disabled = false;
  const alert = document.createElement("div");
  alert.className = "alert";
  alert.setAttribute("role", "alert");
  alert.textContent = told.error ?? "It takes longer than a minute: try again.";
  place.replaceChildren(button, alert);
}

async function copyLink(button) {
  const address = new URL(button.dataset.copy, location.href).href;
  try {
    await navigator.clipboard.writeText(address);
    button.textContent = "Copied";
    announce("The link is copied.");
    setTimeout(() => { button.textContent = "Copy the link"; }, 2500);
  } catch {  // without https, or where it is not allowed
    const input = document.createElement("input");
    input.readOnly = true;
    input.value = address;
    input.setAttribute("aria-label", "Link to this result");
    button.replaceWith(input);
    input.focus();
    input.select();
  }
}

// Parts that fold: open where there is room, and then as they were left.

const isOpen = new Map();

function startFold(details) {
  if ("started" in details.dataset) return;
  details.dataset.started = "";
  details.open = isOpen.get(details.className) ?? !matchMedia("(max-width: 62rem)").matches;
  details.addEventListener("toggle", () => isOpen.set(details.className, details.open));
}

function startAll() {
  document.querySelectorAll("details.filters, details.part").forEach(startFold);
  document.querySelectorAll("form.range").forEach(startRange);
  document.querySelectorAll("form.strip").forEach(startStrip);
}

export function startForms() {
  document.addEventListener("swapped", startAll);
  document.addEventListener("click", (event) => {
    const place = event.target.closest(".recognise button")?.closest(".recognise");
    if (place) recognise(place);
    const button = event.target.closest("[data-copy]");
    if (button) copyLink(button);
  });
  startAll();
}
