/* A sweep's page beside its figures: the bound to play with, a button at each command, and a look for new trials. */
"use strict";

(function () {
  const page = document.getElementById("sweep");
  if (!page) return;

  // -- play with the bound ------------------------------------------------------------------------------------------

  const form = document.getElementById("play");
  const figures = window.pooldemoFigures;
  const chart = () => figures.charts.throughput;
  const play = figures && figures.data.play;

  function number(name) {
    const value = form.elements[name].valueAsNumber;
    const lowest = Number(form.elements[name].min);
    return Number.isFinite(value) && value >= lowest ? value : null;
  }

  /* min(U / (Z + S), N / S), as in sweep/analyse/theory.py: the bound and what sets it. */
  function bound(size, now, holdMs) {
    const holdS = holdMs / 1000;
    const found = [
      { rps: now.users / (now.think_ms / 1000 + holdS), by: "the users" },
      { rps: (size * now.workers) / holdS, by: "the slots" },
    ];
    if (play.rate !== null) found.push({ rps: play.rate, by: "the rate asked for" });
    return found.reduce((least, each) => (each.rps < least.rps ? each : least));
  }

  function redraw() {
    if (!chart()) return;
    const now = {};
    for (const name of ["users", "workers", "think_ms", "hold_ms"]) {
      now[name] = number(name);
      if (now[name] === null) return;
    }
    const measured = now.hold_ms === play.hold_ms && play.holds.length > 1;
    const sizes = chart().figure.x_axis.ticks;
    const [first, last] = [Math.min(...sizes), Math.max(...sizes)];
    const steps = Array.from({ length: 61 }, (_, step) => first * (last / first) ** (step / 60));
    const points = measured
      ? play.holds.map(([x, holdMs]) => ({ x, y: bound(x, now, holdMs).rps }))
      : steps.map((x) => ({ x, y: bound(x, now, now.hold_ms).rps }));
    const dataset = chart().data.datasets.find((each) => each.series && each.series.name === "bound");
    const drawn = points.map((point) => ({ ...point, low: null, high: null, hint: "", doubt: "" }));
    if (dataset) {
      dataset.data = drawn;
    } else {
      const quiet = getComputedStyle(document.documentElement).getPropertyValue("--body-quiet-color").trim();
      chart().data.datasets.push({
        label: "bound", series: { name: "bound", dashed: true, mark: null }, data: drawn, borderColor: quiet,
        borderDash: [5, 5], borderWidth: 1.5, pointStyle: "line", pointRadius: 0, pointHitRadius: 0,
      });
    }
    chart().update("none");
    const full = (now.users * now.hold_ms) / (now.think_ms + now.hold_ms) / now.workers;
    const most = bound(Infinity, now, now.hold_ms);
    form.querySelector("output").textContent =
      `At a hold of ${figures.round(now.hold_ms)} ms the bound rises up to ${figures.round(full)} slots per worker; ` +
      `from there ${most.by} set it: ${figures.round(most.rps)} requests/s.`;
  }

  if (form && chart()) {
    for (const name of ["users", "workers", "think_ms", "hold_ms"]) form.elements[name].defaultValue = play[name];
    form.hidden = false;
    form.addEventListener("input", redraw);
    form.addEventListener("reset", () => setTimeout(redraw));
    form.addEventListener("submit", (event) => event.preventDefault());
    window.pooldemoPlay = redraw;
    redraw();
  }

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

  // -- a sweep that is running --------------------------------------------------------------------------------------

  const notes = document.getElementById("id_notes");

  async function look() {
    if (!document.hidden) {
      const answer = await fetch(window.location.href).catch(() => null);
      const now = answer && answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("sweep");
      const writing = notes && (notes.value !== notes.defaultValue || document.activeElement === notes);
      const changed = now && (now.dataset.done !== page.dataset.done || now.dataset.status !== page.dataset.status);
      if (changed && !writing) window.location.reload();
    }
    setTimeout(look, 5000);
  }

  if (page.dataset.status === "running") setTimeout(look, 5000);
})();
