// Keeps a part of the page fresh: <section data-poll="URL" data-every="2"> is replaced by the HTML at URL while it changes.
// The server answers 304 while nothing has changed. An answer with X-Finished ends the polling; with data-then-reload
// the page is loaded once more, because more than this part of it has changed.

async function refresh(place, state) {
  const headers = { "X-Requested-With": "poll" };
  if (state.etag) headers["If-None-Match"] = state.etag;
  const reply = await fetch(place.dataset.poll, { headers, credentials: "same-origin" });
  if (reply.status === 304) return false;
  if (!reply.ok) throw new Error(`status ${reply.status}`);
  state.etag = reply.headers.get("ETag");
  place.innerHTML = await reply.text();
  place.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
  return reply.headers.has("X-Finished");
}

function start(place) {
  const state = { etag: null, failures: 0 };
  const every = 1000 * Number(place.dataset.every || 2);
  const turn = async () => {
    if (document.hidden) return setTimeout(turn, every);
    try {
      const finished = await refresh(place, state);
      state.failures = 0;
      if (finished) {
        if ("thenReload" in place.dataset) location.reload();
        return;
      }
    } catch {
      state.failures += 1; // the server is away: ask less and less often
    }
    setTimeout(turn, every * 2 ** Math.min(state.failures, 5));
  };
  setTimeout(turn, every);
}

document.querySelectorAll("[data-poll]").forEach(start);
