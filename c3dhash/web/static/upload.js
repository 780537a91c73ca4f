// A video is dropped anywhere on the page, or chosen; it is sent, and the page of its query says how far it is.
import { announce } from "./swap.js";

const MOST_TRIES = 5;

let request = null;

function fail(text) {
  document.getElementById("upload-alert").textContent = text;
  document.querySelector("#upload .sending").hidden = true;
  document.querySelector("#upload [type=file]").value = "";
}

function pageOf(queryId) {
  const filters = document.getElementById("filters");
  const pairs = filters ? [...new FormData(filters)] : [];
  const left = new Set(["video_id", "query_id", "clips", "start_seconds", "end_seconds", "mirror"]);
  const kept = new URLSearchParams(pairs.filter(([name, value]) => value && !left.has(name)));
  kept.set("query_id", queryId);
  if (document.querySelector("#upload [name=mirror]")?.checked) kept.set("mirror", "true");
  return `/?${kept}`;
}

function answered(file, tries) {
  let told = {};
  try {
    told = JSON.parse(request.responseText);
  } catch { /* what is no JSON has no text for people */ }
  if (request.status === 401) location.assign("/login");
  else if (request.status === 429 && tries < MOST_TRIES) {
    const seconds = Number(request.getResponseHeader("retry-after")) || 5;
    document.getElementById("upload-alert").textContent = `${told.error} It is tried again by itself.`;
    setTimeout(() => send(file, tries + 1), 1000 * seconds);
  } else if (request.status === 200 || request.status === 202) location.assign(pageOf(told.query_id ?? told.query.query_id));
  else fail(told.error ?? `The server answered with ${request.status}.`);
}

function send(file, tries = 0) {
  const form = document.getElementById("upload");
  const sending = form.querySelector(".sending");
  document.getElementById("upload-alert").textContent = "";
  if (file.size > Number(form.dataset.maxBytes)) {
    const most = Math.round(Number(form.dataset.maxBytes) / 1e6).toLocaleString("en");
    fail(`the file is larger than ${most} MB, which is the most that is taken here.`);
    return;
  }
  const content = new FormData();
  content.set("wait_seconds", "0");
  if (form.querySelector("[name=mirror]")?.checked) content.set("mirror", "true");
  if ("classifies" in form.dataset) content.set("classify", "true");
  content.set("file", file);
  request?.abort();
  request = new XMLHttpRequest();
  const progress = sending.querySelector("progress");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) progress.value = event.loaded / event.total;
  });
  request.addEventListener("load", () => answered(file, tries));
  request.addEventListener("error", () => fail("The server does not answer, or took no more of the file."));
  request.open("POST", "/api/query");
  request.setRequestHeader("accept", "application/json");
  request.send(content);
  progress.value = 0;
  sending.querySelector(".name").textContent = file.name;
  sending.hidden = false;
  announce(`Sending ${file.name}`);
}

export function startUploads() {
  const form = document.getElementById("upload");
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("change", (event) => {
    if (event.target.matches("#upload [type=file]") && event.target.files.length) send(event.target.files[0]);
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#upload .cancel")) return;
    request?.abort();
    fail("");
    announce("It is not sent.");
  });
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("is-dragged");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("is-dragged");
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.remove("is-dragged");
    if (event.dataTransfer.files.length > 1) fail("One video at a time: several were dropped.");
    else if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
