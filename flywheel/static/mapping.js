// The preview of a mapping, kept fresh while it is edited. Without this the Preview button does the same.
const form = document.querySelector("form[data-mapping]");

if (form) {
  const place = form.querySelector("[data-preview]");
  const button = form.querySelector("button[value=preview]");
  button.hidden = true;
  let asked = 0;
  let timer = 0;

  async function refresh() {
    const turn = ++asked;
    place.setAttribute("aria-busy", "true");
    try {
      const fields = new FormData(form);
      fields.set("verb", "preview");
      const reply = await fetch(form.getAttribute("action"), {
        method: "POST",
        body: fields,
        headers: { "X-Requested-With": "preview" },
        credentials: "same-origin",
      });
      if (turn !== asked) return; // a later edit has asked since
      if (reply.ok) place.innerHTML = await reply.text();
      button.hidden = reply.ok;
    } catch {
      button.hidden = false; // by hand, once the server is there again
    }
    place.removeAttribute("aria-busy");
  }

  // A name counts only for the targets that take one.
  const settle = () => {
    const whole = ["native", "openai_rft"].includes(form.elements.dialect.value);
    form.querySelector("[data-columns]").hidden = whole;
    form.querySelectorAll("select[name^=target-]").forEach((select) => {
      form.elements[select.name.replace("target", "name")].hidden = !select.value.endsWith(".");
    });
  };
  const edited = () => {
    settle();
    clearTimeout(timer);
    timer = setTimeout(refresh, 250);
  };
  form.addEventListener("input", (event) => event.target.name !== "remember" && event.target.name !== "grader_type" && edited());
  settle();

  const kind = form.querySelector("select[name=grader_type]");
  kind.addEventListener("change", () => {
    form.elements.grader.value = kind.selectedOptions[0]?.dataset.config || "";
    edited();
  });
}
