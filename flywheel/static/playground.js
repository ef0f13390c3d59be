// Asks both sides at the same time and shows each answer as it arrives. Without this the form posts and waits for both.
const form = document.querySelector("form[data-playground]");

async function ask(side) {
  const place = document.querySelector(`[data-answer="${side}"]`);
  const wrong = document.querySelector(`[data-wrong="${side}"]`);
  place.setAttribute("aria-busy", "true");
  place.textContent = "";
  if (wrong) wrong.hidden = true;
  const fields = new FormData(form);
  fields.set("model", fields.get(side));
  const started = performance.now();
  try {
    const reply = await fetch(form.dataset.ask, { method: "POST", body: fields, credentials: "same-origin" });
    const body = await reply.json();
    place.classList.toggle("bad-text", !reply.ok);
    place.textContent = reply.ok ? body.text || "(an empty answer)" : body.detail;
    if (wrong && reply.ok) {
      wrong.querySelector("input[name=token]").value = body.token;
      wrong.hidden = wrong.open = false;
    }
    document.querySelector(`[data-note="${side}"]`).textContent = reply.ok
      ? `${body.tokens} tokens in ${((performance.now() - started) / 1000).toFixed(1)} s`
      : "";
  } catch {
    place.classList.add("bad-text");
    place.textContent = "The portal did not answer: try again in a moment.";
  }
  place.setAttribute("aria-busy", "false");
}

for (const kind of document.querySelectorAll("select[data-graders]")) {
  kind.addEventListener("change", () => {
    kind.form.elements.grader.value = kind.selectedOptions[0]?.dataset.config || "";
  });
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  document.querySelector("[data-answers]").hidden = false;
  ask("left");
  ask("right");
});
