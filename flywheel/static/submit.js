// The upload form, easier: drop a file, see its size against the limit, watch it go, and hide fields that do not apply.
const form = document.querySelector("form[data-upload]");

if (form) {
  const drop = form.querySelector(".drop");
  const input = form.querySelector("input[type=file]");
  const chosen = form.querySelector("[data-chosen]");
  const limit = Number(form.dataset.limit);
  const readable = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

  const tell = () => {
    const file = input.files[0];
    if (!file) return;
    const over = file.size > limit;
    chosen.textContent = over
      ? `${file.name} has ${readable(file.size)}: more than the limit. Split it.`
      : `${file.name}, ${readable(file.size)}, will be uploaded.`;
    chosen.classList.toggle("bad-text", over);
  };
  input.addEventListener("change", tell);
  ["dragenter", "dragover"].forEach((kind) => drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  }));
  ["dragleave", "drop"].forEach((kind) => drop.addEventListener(kind, () => drop.classList.remove("over")));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      tell();
    }
  });

  const dataset = form.querySelector("select[name=dataset]");
  const fresh = form.querySelector("[data-new-dataset]");
  const rights = form.querySelector("[data-contributed]");
  const settle = () => {
    fresh.hidden = Boolean(dataset.value);
    rights.hidden = form.querySelector("input[name=visibility]:checked")?.value !== "contributed";
  };
  form.addEventListener("change", settle);
  settle();

  const kind = form.querySelector("select[name=grader_type]");
  const config = form.querySelector("textarea[name=grader]");
  kind.addEventListener("change", () => {
    config.value = kind.selectedOptions[0]?.dataset.config || "";
  });

  form.addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    const bar = form.querySelector("progress");
    const request = new XMLHttpRequest();
    bar.hidden = false;
    request.upload.addEventListener("progress", (move) => {
      bar.max = move.total;
      bar.value = move.loaded;
      chosen.textContent = `${readable(move.loaded)} of ${readable(move.total)} sent.`;
    });
    // The reply names the upload's page, or is this form with its errors.
    request.addEventListener("load", () => {
      const address = request.getResponseHeader("X-Location");
      if (address) return location.assign(address);
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      scrollTo(0, 0);
    });
    request.addEventListener("error", () => {
      chosen.textContent = "The connection broke. Nothing half-written is kept: press Upload again.";
    });
    request.open("POST", form.action);
    request.setRequestHeader("X-Requested-With", "upload");
    request.send(new FormData(form));
  });
}
