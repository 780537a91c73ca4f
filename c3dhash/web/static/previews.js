// Previews are still until somebody looks: they move under the mouse, with the focus, and with their button. Where less
// motion is preferred, the button alone moves them.

const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");

function move(preview, isMoving) {
  const image = preview.querySelector("img[data-moving]");
  if (!image) return;
  image.dataset.still ??= image.getAttribute("src");
  const wanted = isMoving ? image.dataset.moving : image.dataset.still;
  if (image.getAttribute("src") !== wanted) image.src = wanted;
}

function isPressed(preview) {
  return preview.querySelector(".play")?.getAttribute("aria-pressed") === "true";
}

function previewsAt(element) {
  const area = element.closest?.(".card, .clips li, .preview");
  return area ? (area.matches(".preview") ? [area] : area.querySelectorAll(".preview")) : [];
}

function look(event) {
  if (lessMotion.matches) return;
  for (const preview of previewsAt(event.target)) move(preview, true);
}

function lookAway(event) {
  const area = event.target.closest?.(".card, .clips li, .preview");
  if (!area || area.contains(event.relatedTarget)) return;
  const isWatched = area.matches(":hover") || area.contains(document.activeElement);
  for (const preview of previewsAt(event.target)) {
    if (!isPressed(preview) && !(event.type === "mouseout" && area.contains(document.activeElement)) &&
        !(event.type === "focusout" && isWatched && area.matches(":hover"))) move(preview, false);
  }
}

function press(event) {
  const button = event.target.closest(".play");
  if (!button) return;
  const isOn = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isOn));
  move(button.closest(".preview"), isOn);
}

function noPicture(event) {
  event.target.closest?.(".preview")?.classList.add("is-broken");
}

export function startPreviews() {
  document.addEventListener("mouseover", look);
  document.addEventListener("focusin", look);
  document.addEventListener("mouseout", lookAway);
  document.addEventListener("focusout", lookAway);
  document.addEventListener("click", press);
  document.addEventListener("error", noPicture, true);
  for (const image of document.querySelectorAll(".preview img")) {
    if (image.complete && image.getAttribute("src") && !image.naturalWidth) noPicture({ target: image });
  }
}
