// The map: points on a canvas, a picture of the one that is looked at, and its video behind it.
import { announce } from "./swap.js";

const NEAR_PX = 14;
const NO_LABEL = "no label";

export async function startMap() {
  const field = document.querySelector("[data-map]");
  const canvas = field.querySelector("canvas");
  const tip = field.querySelector(".tip");
  const wait = field.querySelector(".wait");
  const told = await load(field);
  if (!told) return;
  wait.hidden = told.points.length > 0;
  if (!told.points.length) wait.textContent = "The gallery has no clips.";
  const shown = told.points.length.toLocaleString("en");
  const all = told.num_clips.toLocaleString("en");
  document.getElementById("map-count").textContent =
    told.points.length < told.num_clips ? `${shown} of ${all} clips, evenly chosen.` : `${shown} clips.`;

  const counts = new Map();
  for (const point of told.points) {
    point.label ??= NO_LABEL;
    counts.set(point.label, (counts.get(point.label) ?? 0) + 1);
  }
  told.points.sort((a, b) => (b.label === NO_LABEL) - (a.label === NO_LABEL));  // what has a label is drawn above
  const labels = [...counts.keys()].sort((a, b) => (a === NO_LABEL) - (b === NO_LABEL) || a.localeCompare(b));
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (label) => {
    if (label === NO_LABEL) return isDark.matches ? "#9aa0a6" : "#6b7075";
    return `hsl(${(labels.indexOf(label) * 137.5 + 150) % 360} 65% ${isDark.matches ? 66 : 40}%)`;
  };
  let only = null;
  let current = null;  // the point that is looked at
  const [xs, ys] = [told.points.map((point) => point.x), told.points.map((point) => point.y)];
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const whole = { scale: 1, x: (left + right) / 2, y: (bottom + top) / 2 };
  const view = { ...whole };  // x and y are in the middle of the field

  const isShown = (point) => only === null || point.label === only;
  const unit = () => view.scale * 0.9 *
    Math.min(canvas.clientWidth / Math.max(right - left, 1e-3), canvas.clientHeight / Math.max(top - bottom, 1e-3));
  const placeOf = (point) => [
    canvas.clientWidth / 2 + (point.x - view.x) * unit(),
    canvas.clientHeight / 2 - (point.y - view.y) * unit(),
  ];

  let isWaiting = false;
  function draw() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(canvas.clientWidth * ratio);
      canvas.height = Math.round(canvas.clientHeight * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const radius = told.points.length > 2000 ? 3 : 5;
      pen.globalAlpha = 0.75;
      for (const point of told.points) {
        if (!isShown(point)) continue;
        const [x, y] = placeOf(point);
        pen.fillStyle = colour(point.label);
        pen.beginPath();
        pen.arc(x, y, radius, 0, 2 * Math.PI);
        pen.fill();
      }
      pen.globalAlpha = 1;
      if (current) {
        const [x, y] = placeOf(current);
        pen.lineWidth = 3;
        pen.strokeStyle = getComputedStyle(canvas).color;
        pen.fillStyle = colour(current.label);
        pen.beginPath();
        pen.arc(x, y, radius + 3, 0, 2 * Math.PI);
        pen.fill();
        pen.stroke();
      }
    });
  }

  const names = new Map();
  async function nameOf(videoId) {
    if (!names.has(videoId)) {
      const answer = await fetch(`/api/videos/${videoId}?clip_limit=1`).catch(() => null);
      names.set(videoId, answer?.ok ? (await answer.json()).video : "");
    }
    return names.get(videoId);
  }

  const placedAs = (point) => told.points.filter((each) => each.x === point.x && each.y === point.y && isShown(each));

  function select(point, isByKey = false) {
    if (point === current && !isByKey) return;
    current = point;
    draw();
    tip.hidden = !point;
    if (!point) return;
    const image = document.createElement("img");
    image.alt = "";
    const still = isByKey || matchMedia("(prefers-reduced-motion: reduce)").matches;
    image.src = `/api/clips/${point.clip_id}/preview${still ? "?kind=still" : ""}`;
    const preview = document.createElement("div");
    preview.className = "preview";
    preview.append(image);
    const text = document.createElement("p");
    const times = `${point.start_seconds.toFixed(1)}–${point.end_seconds.toFixed(1)} s`;
    const same = placedAs(point).length;
    const rest = same > 1 ? `, one of ${same} here` : "";
    text.textContent = `${point.label}, ${times}${rest}`;
    tip.replaceChildren(preview, text);
    const [x, y] = placeOf(point);
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    tip.style.left = `${Math.max(4, Math.min(x + 16, canvas.clientWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, y + 16 + height > canvas.clientHeight ? y - height - 16 : y + 16)}px`;
    nameOf(point.video_id).then((name) => {
      if (current !== point || !name) return;
      text.textContent = `${name}: ${point.label}, ${times}${rest}`;
      if (isByKey) announce(text.textContent);
    });
  }

  const open = () => { if (current) location.assign(`/videos/${current.video_id}`); };

  function nearest(x, y) {
    let best = null;
    let least = NEAR_PX ** 2;
    for (const point of told.points) {
      if (!isShown(point)) continue;
      const [px, py] = placeOf(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const before = unit();
    view.scale = Math.min(Math.max(view.scale * factor, 1), 60);
    const change = 1 / before - 1 / unit();
    view.x += (x - canvas.clientWidth / 2) * change;
    view.y -= (y - canvas.clientHeight / 2) * change;
    if (view.scale === 1) Object.assign(view, whole);
    select(null);
    draw();
  }

  // Where to go from a point with an arrow key: to the nearest one in a quarter of all directions. Space goes around
  // those at the same place.
  function step(dx, dy) {
    const points = told.points.filter(isShown);
    if (!points.length) return;
    if (!current) {
      select(points.reduce((a, b) => (a.x ** 2 + a.y ** 2 <= b.x ** 2 + b.y ** 2 ? a : b)), true);
      return;
    }
    let best = null;
    let least = Infinity;
    for (const point of points) {
      const [x, y] = [point.x - current.x, point.y - current.y];
      const along = x * dx + y * dy;
      const across = Math.abs(x * dy) + Math.abs(y * dx);
      if (along <= 0 || across > along) continue;
      const distance = along + across;
      if (distance < least) [best, least] = [point, distance];
    }
    if (!best) return;
    const [x, y] = placeOf(best);
    if (x < 0 || y < 0 || x > canvas.clientWidth || y > canvas.clientHeight) [view.x, view.y] = [best.x, best.y];
    select(best, true);
  }

  canvas.addEventListener("keydown", (event) => {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key in directions) step(...directions[event.key]);
    else if (event.key === " " && current) {
      const same = placedAs(current);
      select(same[(same.indexOf(current) + 1) % same.length], true);
    } else if (event.key === "Enter") open();
    else if (event.key === "Escape") select(null);
    else if (event.key === "+") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else return;
    event.preventDefault();
  });

  const fingers = new Map();
  let hasMoved = false;
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    hasMoved = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) {
      const point = nearest(event.offsetX, event.offsetY);
      canvas.style.cursor = point ? "pointer" : "grab";
      select(point);
      return;
    }
    const [dx, dy] = [event.offsetX - before[0], event.offsetY - before[1]];
    if (!hasMoved && Math.hypot(dx, dy) < 5) return;
    hasMoved = true;
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      const is = Math.hypot(event.offsetX - other[0], event.offsetY - other[1]);
      if (was > 0) zoom(is / was, other[0], other[1]);
    } else {
      view.x -= dx / unit();
      view.y += dy / unit();
      select(null);
      draw();
    }
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  });
  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (hasMoved) return;
    const point = nearest(event.offsetX, event.offsetY);
    if (event.pointerType === "touch" && point !== current) select(point);  // a second touch opens it
    else if (point) {
      select(point);
      open();
    }
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) select(null); });
  canvas.addEventListener("blur", () => select(null));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;  // a page scrolls unless the map is meant
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.offsetX, event.offsetY);
  }, { passive: false });
  field.querySelector(".zoom").addEventListener("click", (event) => {
    const kind = event.target.dataset.zoom;
    if (kind) zoom({ in: 1.6, out: 1 / 1.6, all: 0 }[kind]);
  });

  const legend = document.getElementById("map-legend");
  function listLabels() {
    legend.replaceChildren(...labels.slice(0, 40).map((label) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(label === only));
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      dot.setAttribute("viewBox", "0 0 2 2");
      dot.setAttribute("aria-hidden", "true");
      for (const name of ["cx", "cy", "r"]) circle.setAttribute(name, "1");
      circle.setAttribute("fill", colour(label));
      dot.append(circle);
      button.append(dot, `${label} (${counts.get(label).toLocaleString("en")})`);
      button.addEventListener("click", () => {
        only = only === label ? null : label;
        select(null);
        [...legend.children].forEach((each, i) => each.setAttribute("aria-pressed", String(labels[i] === only)));
        draw();
      });
      return button;
    }));
  }
  isDark.addEventListener("change", () => { listLabels(); draw(); });
  new ResizeObserver(draw).observe(canvas);
  listLabels();
  draw();
}

async function load(field) {
  for (;;) {
    const answer = await fetch("/api/map").catch(() => null);
    const told = await answer?.json().catch(() => null);
    if (answer?.status === 200) return told;
    if (answer?.status !== 202 && answer?.status !== 429) {
      field.querySelector(".wait").hidden = true;
      field.querySelector("[role=alert]").textContent = told?.error ?? "The server does not answer.";
      return null;
    }
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
}
