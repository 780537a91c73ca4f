// The token is brought once; a cookie then stands for it.

export function startLogin() {
  const form = document.getElementById("login");
  const alert = document.querySelector(".login .alert");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    alert.textContent = "";
    const answer = await fetch("/api/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: form.elements.token.value }),
    }).catch(() => null);
    if (answer?.ok) {
      const next = new URLSearchParams(location.search).get("next") ?? "/";
      const place = new URL(next, location.origin);
      location.replace(place.origin === location.origin ? place.href : "/");  // never to another site
      return;
    }
    alert.textContent = (await answer?.json().catch(() => null))?.error ?? "The server does not answer.";
    form.elements.token.select();
  });
}
