// Draws the table by day as a chart, and again when the table changes. Without it the table says the same.
"use strict";
(() => {
  const figure = document.getElementById("chart");
  if (!figure || !window.uPlot) return;
  const place = figure.querySelector("div"), told = figure.querySelector("p");
  const hint = told.textContent;
  const uses = ["offered", "used", "useful"]; // each is drawn over the one before it
  let days = [], plot = null;

  const color = (name) => getComputedStyle(figure).getPropertyValue(name).trim();
  const paint = (name) => () => color(name);

  // The days in the table, the oldest first, with what each has of a use in the table's own words, and in CPU-hours.
  const read = () => [...document.querySelectorAll("#days tbody tr")].reverse().map((row) => {
    const day = { name: row.cells[0].textContent };
    for (const cell of row.querySelectorAll("[data-use]")) {
      day[cell.dataset.use] = { text: cell.textContent, hours: Number(cell.dataset.us) / 3600e6 };
    }
    return day;
  });

  const say = (at) => {
    const day = days[at];
    told.textContent = day ? day.name + ": " + uses.filter((u) => day[u]).map((u) => u + " " + day[u].text).join(", ") : hint;
  };

  const size = () => ({ width: place.clientWidth, height: place.clientHeight });

  const draw = (shown) => new uPlot({
    ...size(),
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { setScale: false } },
    scales: { x: { time: false, range: (u, from, to) => [from - 0.6, to + 0.6] }, y: { range: (u, from, to) => [0, Math.max(to * 1.05, 0.01)] } },
    axes: [
      {
        stroke: paint("--soft"), font: "12px system-ui, sans-serif", grid: { show: false }, ticks: { show: false }, space: 64, size: 28,
        incrs: [1, 2, 7, 14], values: (u, at) => at.map((n) => days[n] ? days[n].name.replace(/^\S+ /, "") : ""),
      },
      {
        stroke: paint("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: paint("--line"), width: 1 }, ticks: { show: false }, size: 56,
        values: (u, at) => at.map((n) => n.toLocaleString("en").replaceAll(",", "\u202f")),
      },
    ],
    series: [{}, ...shown.map((use) => ({
      label: use, fill: paint("--" + use), stroke: paint("--" + use), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 48] }),
    }))],
    hooks: { setCursor: [(u) => say(u.cursor.idx)] },
  }, [], place);

  let shown = [];
  const show = () => {
    days = read();
    figure.hidden = days.length === 0;
    if (figure.hidden) return;
    const now = uses.filter((u) => days[0][u]);
    if (!plot || now.join() !== shown.join()) {
      if (plot) plot.destroy();
      shown = now;
      plot = draw(shown);
    }
    plot.setData([days.map((_, n) => n), ...shown.map((u) => days.map((d) => d[u].hours))]);
    say(plot.cursor.idx);
  };

  show();
  document.addEventListener("shown", show);
  new ResizeObserver(() => { if (plot && place.clientWidth) plot.setSize(size()); }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (plot) plot.redraw(); });
})();
