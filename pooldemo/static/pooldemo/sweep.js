/* A sweep's page beside its figures: the bound to play with, and a button at each command. */
"use strict";

(function () {
  const page = document.getElementById("sweep");
  if (!page) return;

  // -- play with the bound ------------------------------------------------------------------------------------------

  const form = document.getElementById("play");
  const NAMES = ["users", "workers", "think_ms", "hold_ms"];

  function round(value) {
    return Number(value.toPrecision(3)).toLocaleString("en");
  }

  /* min(U / (Z + S), N / S), as in sweep/analyse/theory.py: the bound and what sets it. */
  function bound(size, now, holdMs, rate) {
    const holdS = holdMs / 1000;
    const found = [
      { rps: now.users / (now.think_ms / 1000 + holdS), by: "the users" },
      { rps: (size * now.workers) / holdS, by: "the slots" },
    ];
    if (rate !== null) found.push({ rps: rate, by: "the rate asked for" });
    return found.reduce((least, each) => (each.rps < least.rps ? each : least));
  }

  /* The points of the bound in a chart's own coordinates, cut where they leave it at the top. */
  function path(svg, curve) {
    const scale = JSON.parse(svg.dataset.scale);
    const along = (x) => (scale.log
      ? Math.log2(x / scale.x[0]) / Math.log2(scale.x[1] / scale.x[0])
      : (x - scale.x[0]) / (scale.x[1] - scale.x[0]));
    const steps = Array.from({ length: 61 }, (_, step) => (scale.log
      ? scale.x[0] * (scale.x[1] / scale.x[0]) ** (step / 60)
      : scale.x[0] + ((scale.x[1] - scale.x[0]) * step) / 60));
    return steps.map((x) => [x, curve(x)]).filter(([x, y]) => x > 0 && y <= scale.top).map(([x, y]) => {
      const left = scale.left + along(x) * (scale.right - scale.left);
      return `${left.toFixed(1)},${(scale.base - (y / scale.top) * (scale.base - scale.ceiling)).toFixed(1)}`;
    }).join(" ");
  }

  function play() {
    const start = JSON.parse(document.getElementById("play-data").textContent);
    const lines = [...document.querySelectorAll("[data-figure=throughput] .theory[data-name=bound]")];
    if (!lines.length) return;
    const measured = lines.map((line) => line.getAttribute("points"));

    function redraw() {
      const now = {};
      for (const name of NAMES) {
        const [value, lowest] = [form.elements[name].valueAsNumber, Number(form.elements[name].min)];
        if (!(value >= lowest)) return;
        now[name] = value;
      }
      const same = NAMES.every((name) => now[name] === start[name]);
      lines.forEach((line, place) => {
        const curve = (x) => bound(x, now, now.hold_ms, start.rate).rps;
        line.setAttribute("points", same ? measured[place] : path(line.ownerSVGElement, curve));
      });
      const full = (now.users * now.hold_ms) / (now.think_ms + now.hold_ms) / now.workers;
      const most = bound(Infinity, now, now.hold_ms, start.rate);
      form.querySelector("output").textContent =
        `At a hold of ${round(now.hold_ms)} ms the bound rises up to ${round(full)} slots per worker; ` +
        `from there ${most.by} set it: ${round(most.rps)} requests/s.`;
    }

    for (const name of NAMES) form.elements[name].value = form.elements[name].defaultValue = start[name];
    form.hidden = false;
    form.addEventListener("input", redraw);
    form.addEventListener("reset", () => setTimeout(redraw));
    form.addEventListener("submit", (event) => event.preventDefault());
    redraw();
  }

  if (form) play();

  // -- commands to copy ---------------------------------------------------------------------------------------------

  if (navigator.clipboard) {
    page.querySelectorAll("pre.copy").forEach((line) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(line.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      line.after(button);
    });
  }
})();
