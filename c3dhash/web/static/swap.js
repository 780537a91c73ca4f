// Parts of a page, asked for anew: by a filter that was changed, or until what is computed is there. The server writes
// them as it writes the page, so that what it shows is text in both.

let asking = null;

export function announce(text) {
  const region = document.getElementById("status");
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50);  // also where it says the same again
}

export async function swap(address, selectors) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const problem = document.getElementById("problem");
  let answer;
  let text;
  try {
    answer = await fetch(address, { headers: { accept: "text/html" }, signal });
    text = await answer.text();
  } catch (error) {
    if (error.name !== "AbortError") problem.textContent = "The server does not answer: what is shown here is of before.";
    return false;
  }
  problem.textContent = "";
  if (answer.redirected && new URL(answer.url).pathname === "/login") {
    location.assign(answer.url);
    return false;
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  const pairs = selectors.map((each) => [document.querySelector(each), page.querySelector(each)]);
  if (signal.aborted) return false;
  if (pairs.some(([old, fresh]) => !old || !fresh)) {  // an error, or another page
    location.assign(address);
    return false;
  }
  for (const [old, fresh] of pairs) {
    const place = [...old.querySelectorAll("input, select")].indexOf(document.activeElement);
    old.replaceWith(document.adoptNode(fresh));
    if (place >= 0) fresh.querySelectorAll("input, select")[place]?.focus();
  }
  document.title = page.title;
  document.dispatchEvent(new Event("swapped"));
  for (const [, fresh] of pairs) {
    const said = fresh.dataset.announce ?? fresh.querySelector("[data-announce]")?.dataset.announce;
    if (said) announce(said);
  }
  keepFresh();
  return true;
}

let waiting = 0;  // a timer
let searches = 0;  // what somebody asked for goes before what is asked again by itself
let shownAt = "";

function keepFresh() {
  const region = document.querySelector("[data-refresh]");
  clearTimeout(waiting);
  if (!region) return;
  waiting = setTimeout(async () => {
    if (searches || !await swap(location.href, [`#${region.id}`])) keepFresh();
  }, Number(region.dataset.refresh));
}

function addressOf(form) {
  const pairs = [...new FormData(form)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(pairs).toString();
  return form.getAttribute("action") + (query ? `?${query}` : "");
}

async function search(form) {
  if (!form.checkValidity()) {
    form.reportValidity();
    return;
  }
  const address = addressOf(form);
  const regions = form.dataset.swap.split(" ");
  if ("replace" in form.dataset) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  shownAt = location.pathname + location.search;
  for (const each of regions) document.querySelector(each)?.setAttribute("aria-busy", "true");
  searches += 1;
  await swap(address, regions);
  searches -= 1;
}

export function startSwaps() {
  shownAt = location.pathname + location.search;
  let typing = 0;
  document.addEventListener("submit", (event) => {
    if (!event.target.dataset.swap) return;
    event.preventDefault();
    search(event.target);
  });
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (!form?.dataset.swap) return;
    clearTimeout(typing);
    typing = setTimeout(() => search(form), event.target.matches("select, [type=checkbox]") ? 0 : 350);
  });
  addEventListener("popstate", () => {
    if (location.pathname + location.search !== shownAt) location.reload();
  });
  keepFresh();
}
