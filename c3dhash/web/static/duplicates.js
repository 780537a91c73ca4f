// "Not a match", and back.
import { announce } from "./swap.js";
import { tell } from "./tell.js";

function judge(card, isMatch) {
  const [best, other] = card.dataset.pair.split(" ").map(Number);
  return tell("/api/duplicates", { video_id: best, other_id: other, is_match: isMatch });
}

async function press(event) {
  const button = event.target.closest(".judge button");
  if (!button) return;
  const card = button.closest("[data-pair]");
  const isMatch = button.classList.contains("undo");
  button.disabled = true;
  const error = await judge(card, isMatch);
  button.disabled = false;
  const told = card.querySelector(".judge [role=alert]") ?? document.createElement("span");
  told.setAttribute("role", "alert");
  told.className = error ? "alert" : "quiet";
  told.textContent = error || (isMatch ? "" : "Noted: no match.");
  button.before(told);
  if (error) return;
  card.classList.toggle("is-judged", !isMatch);
  button.className = isMatch ? "no-match" : "undo";
  button.textContent = isMatch ? "Not a match" : "Undo";
  const name = card.querySelector("h4").textContent;
  button.setAttribute("aria-label", `${button.textContent}: ${name}`);
  announce(isMatch ? "It is a match again." : "Noted: no match.");
}

export function startJudging() {
  document.addEventListener("click", press);
}
