// Live curves. <div class="chart" data-source="URL" data-curves="reward,validation"> draws columns of the JSON at URL:
// {steps: [..], columns: {reward: [..], kl: [..], kl_low: [..], kl_high: [..]}, finished: bool}. A column with _low and
// _high beside it gets a band. `labels` names columns; `marks` ([{step, action}]) are lines where a run went back or ended. All charts of one source share one request; 304 means nothing is new.

const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3], [12, 5], [4, 2, 1, 2]]; // curves are told apart without colour
const SIGNS = { rolled_back: "↶", stopped: "■" };
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A canvas cannot resolve light-dark(): let an element compute it.
function colour(variable) {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const translucent = (rgb, alpha) => rgb.replace(/^rgba?\(([^)]+)\)$/, (_, parts) => `rgba(${parts.split(",").slice(0, 3).join(",")}, ${alpha})`);

function layout(place, curves, labels) {
  const strokes = [colour("--accent"), colour("--warn"), colour("--good")];
  const series = [{ label: "step" }];
  const bands = [];
  const columns = [];
  curves.forEach((name, index) => {
    const stroke = strokes[index % strokes.length];
    const label = labels?.[name] || name;
    const gaps = { spanGaps: true, width: 2, stroke, points: { size: index ? 6 : 4 }, value: (_, v) => (v == null ? "–" : v.toPrecision(3)) };
    gaps.dash = DASHES[index % DASHES.length];
    series.push({ label, ...gaps });
    columns.push(name);
    if (place.dataset.bands?.split(",").includes(name)) {
      const edge = { spanGaps: true, width: 0, stroke: "transparent", points: { show: false }, value: gaps.value };
      series.push({ label: "95 % high", ...edge }, { label: "95 % low", ...edge });
      columns.push(`${name}_high`, `${name}_low`);
      bands.push({ series: [series.length - 2, series.length - 1], fill: translucent(stroke, 0.18) });
    }
  });
  return { series, bands, columns };
}

// A dashed line with its sign at the top, at every step where an alarm did something.
function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  const stroke = colour("--bad");
  ctx.save();
  Object.assign(ctx, { strokeStyle: stroke, fillStyle: stroke, lineWidth: 1, textAlign: "center" });
  ctx.setLineDash([3, 3]);
  for (const { step, action } of marks) {
    if (step < plot.scales.x.min || step > plot.scales.x.max) continue;
    const x = plot.valToPos(step, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top + 14 * devicePixelRatio);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(SIGNS[action] || "!", x, bbox.top + 10 * devicePixelRatio);
  }
  ctx.restore();
}

function draw(place, body) {
  const { series, bands, columns } = layout(place, place.dataset.curves.split(","), body.labels);
  const data = [body.steps, ...columns.map((name) => body.columns[name] || body.steps.map(() => null))];
  place.plot?.destroy();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `12px ${css("--sans")}` };
  const width = Math.max(place.clientWidth, 240);
  place.plot = new uPlot(
    { width, height: 200, series, bands, scales: { x: { time: false } }, axes: [{ ...axis }, { ...axis, size: 54 }], legend: { live: true }, cursor: { y: false }, hooks: { draw: [(plot) => drawMarks(plot, body.marks || [])] } },
    data,
    place,
  );
}

function follow(source, places) {
  let etag = null;
  let last = null;
  const redraw = () => last && last.steps.length && places.forEach((place) => draw(place, last));
  const turn = async () => {
    try {
      const reply = await fetch(source, { headers: etag ? { "If-None-Match": etag } : {}, credentials: "same-origin" });
      if (reply.ok) {
        etag = reply.headers.get("ETag");
        last = await reply.json();
        redraw();
      }
    } catch {
      // The server is away; the next turn asks again.
    }
    if (!last?.finished) setTimeout(turn, 3000);
  };
  document.addEventListener("themechange", redraw);
  document.addEventListener("toggle", redraw, true); // what was folded had no width to be drawn in
  addEventListener("resize", () => requestAnimationFrame(redraw));
  turn();
}

const sources = new Map();
document.querySelectorAll(".chart[data-source]").forEach((place) => {
  const source = place.dataset.source;
  sources.set(source, [...(sources.get(source) || []), place]);
});
sources.forEach((places, source) => follow(source, places));
