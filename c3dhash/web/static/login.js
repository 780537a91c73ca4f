// The token is brought once; a cookie then stands for it.
import { tell } from "./tell.js";

export function startLogin() {
  const form = document.getElementById("login");
  const alert = document.querySelector(".login .alert");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    alert.textContent = "";
    const error = await tell("/api/login", { token: form.elements.token.value });
    if (!error) {
      const next = new URLSearchParams(location.search).get("next") ?? "/";
      const place = new URL(next, location.origin);
      location.replace(place.origin === location.origin ? place.href : "/");  // never to another site
      return;
    }
    alert.textContent = error;
    form.elements.token.select();
  });
}
