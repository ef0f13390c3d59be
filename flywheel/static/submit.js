// The upload form, easier: drop a file, and it goes in pieces (tus 1.0) that survive a broken connection, a laptop that
// sleeps and a closed page. The place where a file is going is remembered, so that choosing it again goes on from there.
// Without this the form sends the file in one request.
const RETRY_SECONDS = [1, 2, 4, 8, 15, 30];
const readable = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const lasting = (seconds) => (seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);

class Refused extends Error {} // for good: asking again would not help
class Gone extends Error {} // the server has forgotten the upload
class Paused extends Error {}

// What is remembered of files on their way, under what tells them apart.
const memory = {
  key: (file) => `upload:${file.name}:${file.size}:${file.lastModified}`,
  get(file) {
    try {
      return JSON.parse(localStorage.getItem(this.key(file)));
    } catch {
      return null;
    }
  },
  set(file, value) {
    try {
      localStorage.setItem(this.key(file), JSON.stringify(value));
    } catch {
      // Full, or forbidden here: the upload still survives everything but a closed page.
    }
  },
  forget(file) {
    try {
      localStorage.removeItem(this.key(file));
    } catch {
      // see above
    }
  },
};

// One file on its way to one address.
class Sending {
  constructor(file, address, token, pieceBytes, tell) {
    Object.assign(this, { file, address, token, pieceBytes, tell });
    this.request = null;
    this.wake = null;
    this.paused = false;
    this.failures = 0;
  }

  headers() {
    return { "Tus-Resumable": "1.0.0", "X-CSRFToken": this.token };
  }

  // Bytes that the server has, and the upload's id once it has all.
  async where() {
    const reply = await fetch(this.address, { method: "HEAD", headers: this.headers(), credentials: "same-origin", cache: "no-store" });
    if (reply.status === 404 || reply.status === 410) throw new Gone();
    if (reply.status === 401 || reply.status === 403) throw new Refused("You are signed out: sign in again, then choose the same file. It goes on where it stopped.");
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    return { offset: Number(reply.headers.get("Upload-Offset")), upload: reply.headers.get("Upload-Id") };
  }

  // One piece; resolves with the new offset and, at the end, the upload's id.
  piece(offset) {
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      request.upload.addEventListener("progress", (move) => this.tell(offset + move.loaded));
      request.addEventListener("load", () => {
        if (request.status === 204) {
          const upload = request.getResponseHeader("Upload-Id");
          return resolve({ offset: Number(request.getResponseHeader("Upload-Offset")), upload });
        }
        if (request.status === 404 || request.status === 410) return reject(new Gone());
        if ([400, 401, 403, 413, 415, 507].includes(request.status)) return reject(new Refused(said(request.responseText)));
        reject(new Error(`status ${request.status}`)); // 409, 423, 5xx: ask where it is, then go on
      });
      request.addEventListener("error", () => reject(new Error("connection")));
      request.addEventListener("abort", () => reject(new Paused()));
      request.open("PATCH", this.address);
      Object.entries(this.headers()).forEach(([name, value]) => request.setRequestHeader(name, value));
      request.setRequestHeader("Upload-Offset", offset);
      request.setRequestHeader("Content-Type", "application/offset+octet-stream");
      request.send(this.file.slice(offset, offset + this.pieceBytes));
    });
  }

  // To the end, whatever happens on the way; the upload's id.
  async run() {
    let state = null;
    for (;;) {
      if (this.paused) {
        await this.nap();
        state = null;
      }
      try {
        state ??= await this.where();
        this.tell(state.offset);
        if (state.upload) return state.upload;
        state = await this.piece(state.offset);
        this.failures = 0;
      } catch (fault) {
        if (fault instanceof Refused || fault instanceof Gone) throw fault;
        state = null;
        if (fault instanceof Paused) continue;
        const seconds = RETRY_SECONDS[Math.min(this.failures++, RETRY_SECONDS.length - 1)];
        this.tell(null, seconds);
        await this.nap(seconds);
      }
    }
  }

  // Until the time is over, the network is back, the page is looked at again or somebody presses go on.
  nap(seconds) {
    return new Promise((resolve) => {
      const timer = seconds && setTimeout(() => this.wake(), 1000 * seconds);
      const seen = () => !document.hidden && !this.paused && this.wake();
      this.wake = () => {
        clearTimeout(timer);
        removeEventListener("online", seen);
        document.removeEventListener("visibilitychange", seen);
        resolve();
      };
      addEventListener("online", seen);
      document.addEventListener("visibilitychange", seen);
    });
  }

  pause() {
    this.paused = true;
    this.request?.abort();
  }

  goOn() {
    this.paused = false;
    this.wake?.();
  }
}

function said(body) {
  try {
    return JSON.parse(body).detail;
  } catch {
    return "The server refused this file: reload the page and choose it again.";
  }
}

// Attributes are asked for by name: form.dataset is the field called dataset.
function enhance(form) {
  const drop = form.querySelector(".drop");
  const input = form.querySelector("input[type=file]");
  const chosen = form.querySelector("[data-chosen]");
  const sendingPart = form.querySelector("[data-sending]");
  const bar = sendingPart.querySelector("progress");
  const pause = sendingPart.querySelector("[data-pause]");
  const button = form.querySelector("button:not([type=button])");
  const limit = Number(form.getAttribute("data-limit"));
  const dataset = form.querySelector("select[name=dataset]");
  const token = form.querySelector("input[name=csrfmiddlewaretoken]").value;
  let sending = null;
  let known = null; // {address, dataset, offset} of a file that was on its way before

  const show = (text, bad = false) => {
    chosen.textContent = text;
    chosen.classList.toggle("bad-text", bad);
  };

  const tell = async () => {
    known = null;
    const file = input.files[0];
    if (!file) return show("");
    if (file.size > limit) return show(`${file.name} has ${readable(file.size)}: more than the limit. Split it.`, true);
    show(`${file.name}, ${readable(file.size)}, will be uploaded.`);
    const before = memory.get(file);
    if (!before) return;
    try {
      const reply = await fetch(before.address, { credentials: "same-origin", cache: "no-store" });
      if (!reply.ok) return reply.status === 404 && memory.forget(file);
      const state = await reply.json();
      if (file !== input.files[0]) return;
      if (dataset.value && dataset.value !== String(state.dataset)) return; // for another one this time
      known = { address: before.address, dataset: state.dataset };
      const share = Math.floor((100 * state.offset) / state.length);
      show(`${share} % of ${file.name} is there, for ${state.dataset_name}: Upload goes on from there.`);
      dataset.value = String(state.dataset);
      settle();
    } catch {
      // Offline: announced anew when it is sent.
    }
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

  const fresh = form.querySelector("[data-new-dataset]");
  const rights = form.querySelector("[data-contributed]");
  const mode = form.querySelector("[data-mode]");
  function settle() {
    fresh.hidden = Boolean(dataset.value);
    mode.hidden = !dataset.value;
    rights.hidden = form.querySelector("input[name=visibility]:checked")?.value !== "contributed";
  }
  form.addEventListener("change", settle);
  settle();

  const kind = form.querySelector("select[name=grader_type]");
  const config = form.querySelector("textarea[name=grader]");
  kind.addEventListener("change", () => {
    config.value = kind.selectedOptions[0]?.dataset.config || "";
  });

  // The form without the file's bytes: the address that takes them, or the page with what was wrong.
  async function announce(file) {
    const fields = new FormData(form);
    fields.delete("file");
    fields.set("filename", file.name);
    fields.set("length", file.size);
    const reply = await fetch(form.getAttribute("data-announce"), { method: "POST", body: fields, credentials: "same-origin" });
    if (reply.status === 201) {
      const { address, dataset } = await reply.json();
      memory.set(file, { address, dataset });
      return address;
    }
    if (reply.redirected) throw new Refused("You are signed out: sign in again, then choose the file once more.");
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const main = page.querySelector("main");
    if (!main) throw new Refused("The server refused this file: reload the page and choose it again.");
    document.querySelector("main").replaceWith(main);
    enhance(main.querySelector("form[data-upload]"));
    scrollTo(0, 0);
    return null;
  }

  // Progress, speed and time left, over what was sent since this page began to send.
  function meter(file) {
    let first = null;
    let began = 0;
    return (bytes, retryIn) => {
      if (bytes === null) {
        return show(`${navigator.onLine ? "The connection broke" : "You are offline"}: what was sent is kept. Trying again within ${retryIn} s.`);
      }
      bar.max = file.size;
      bar.value = bytes;
      if (first === null || bytes < first) {
        first = bytes;
        began = performance.now();
      }
      const seconds = (performance.now() - began) / 1000;
      const rate = seconds > 0.5 ? (bytes - first) / seconds : 0;
      const left = rate ? `, ${readable(rate)}/s, about ${lasting((file.size - bytes) / rate)} left` : "";
      show(`${readable(bytes)} of ${readable(file.size)} sent${left}.`);
    };
  }

  async function send(file) {
    button.disabled = true;
    try {
      const address = known?.address ?? (await announce(file));
      if (address === null) return;
      sendingPart.hidden = false;
      sending = new Sending(file, address, token, Number(form.getAttribute("data-piece")), meter(file));
      await sending.run();
      memory.forget(file);
      location.assign(`${form.getAttribute("data-announce")}/${address.split("/").pop()}`);
    } catch (fault) {
      if (fault instanceof Gone) {
        memory.forget(file);
        known = null;
        return send(file); // from the beginning
      }
      sendingPart.hidden = true;
      const broken = "The server does not answer: nothing is lost, press Upload again.";
      show(fault instanceof Refused ? fault.message : broken, true);
      known = memory.get(file);
      button.disabled = false;
    }
  }

  pause.addEventListener("click", () => {
    const going = !sending.paused;
    pause.textContent = going ? "Go on" : "Pause";
    if (!going) return sending.goOn();
    sending.pause();
    show("Paused: what was sent is kept, also if you close this page.");
  });

  form.addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    const file = input.files[0];
    if (!file.size) return show("The file is empty.", true);
    send(file);
  });
}

const onPage = document.querySelector("form[data-upload]");
if (onPage) enhance(onPage);
