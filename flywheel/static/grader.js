// The bench of the grader page, easier: the source field shows where the configuration is a python grader's, and
// Ctrl+Enter presses the button of the part that one is typing in.
const form = document.querySelector("form[data-bench]");

if (form) {
  const config = form.querySelector("textarea[name=grader]");
  const source = form.querySelector("[data-source]");
  const type = () => {
    try {
      return JSON.parse(config.value).type;
    } catch {
      return undefined; // half typed: the field stays as it is
    }
  };
  const settle = () => {
    const kind = type();
    if (kind !== undefined) source.hidden = kind !== "python" && !source.querySelector(".errorlist");
  };
  config.addEventListener("input", settle);
  settle();

  const press = (verb) => form.querySelector(`button[value=${verb}]`)?.click();
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const verb = { completion: "try", grader: "check", source: "check" }[event.target.name];
    if (!verb) return;
    event.preventDefault();
    press(verb);
  });
  // Enter in the row field shows that row, not the one before it.
  form.elements.at.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    press("show");
  });
}
