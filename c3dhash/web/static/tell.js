// What is told to the server in JSON, and what it has against it.

export async function tell(path, content) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(content),
  }).catch(() => null);
  if (answer?.ok) return "";
  return (await answer?.json().catch(() => null))?.error ?? "The server does not answer.";
}
