// Keyboard for the review page: every key presses something that is on the page, so mouse and keys cannot differ.
const byKey = (key) => document.querySelector(`[data-key="${key}"]`);
const help = document.querySelector("dialog#keys");
const reject = document.querySelector("dialog#reject");
const typing = (target) => target.closest("input, select, textarea, [contenteditable]");

function show(dialog) {
  dialog.showModal();
  dialog.querySelector("select, button")?.focus();
}

// Without JavaScript the reject form stands open on the page; with it, it is a dialog under R.
const form = document.querySelector("form#reject-form"); // none where there is nothing to decide
if (reject && form) {
  reject.querySelector("[data-form]").append(form);
  byKey("r").hidden = false;
  byKey("r").addEventListener("click", () => show(reject));
}
document.querySelectorAll("[data-close]").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
byKey("?")?.addEventListener("click", () => show(help));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const target = byKey(event.key);
  if (!target) return;
  event.preventDefault();
  target.click();
});
