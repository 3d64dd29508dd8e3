/* The live pool: asks once a second for the part of the page that changes, and not at all in a hidden tab. */
"use strict";

(function () {
  const page = document.getElementById("live");
  if (!page) return;
  const INTERVAL_MS = 1000;
  const PATIENCE_MS = 5000;
  const SECONDS = 120;
  const state = document.getElementById("live-state");
  const trouble = document.getElementById("live-trouble");
  const history = [];
  let timer = 0;
  let chart = null;

  async function ask() {
    timer = 0;
    const abort = new AbortController();
    const patience = setTimeout(() => abort.abort(), PATIENCE_MS);
    try {
      const response = await fetch(page.dataset.state, { signal: abort.signal });
      const text = await response.text();
      if (!response.ok) throw new Error(text.slice(0, 200));
      state.innerHTML = text;
      trouble.hidden = true;
      follow(state.querySelector(".state").dataset);
    } catch (error) {
      trouble.textContent = error.name === "AbortError" || error instanceof TypeError
        ? "The site does not answer: the numbers below are old." : error.message;
      trouble.hidden = false;
    } finally {
      clearTimeout(patience);
      if (!document.hidden) timer = setTimeout(ask, INTERVAL_MS);
    }
  }

  function follow(numbers) {
    history.push({ active: Number(numbers.active), pending: Number(numbers.pending), max: Number(numbers.max) });
    if (history.length > SECONDS) history.shift();
    draw();
  }

  function draw() {
    if (!window.Chart) return;
    const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    if (!chart) {
      const holder = document.getElementById("live-chart");
      holder.hidden = false;
      const line = (label, colour, more) => ({
        label, borderColor: colour, backgroundColor: `${colour}22`, borderWidth: 2, pointRadius: 0, data: [],
        stepped: true, ...more,
      });
      chart = new window.Chart(holder.querySelector("canvas"), {
        type: "line",
        data: {
          datasets: [
            line("Active", "#0072B2", { fill: true }),
            line("Pending", "#D55E00", { borderDash: [6, 3] }),
            line("Max", "#777777", { borderDash: [2, 3], borderWidth: 1.5 }),
          ],
        },
        options: {
          animation: false,
          maintainAspectRatio: false,
          events: [],
          scales: {
            x: { title: { display: true, text: "seconds ago" }, ticks: { callback(_, at) { const ago = this.getLabelForValue(at); return ago % 10 ? null : ago; }, autoSkip: false, maxRotation: 0 } },
            y: { beginAtZero: true, title: { display: true, text: "greenlets, connections" }, ticks: { precision: 0 } },
          },
          plugins: { legend: { position: "bottom" } },
        },
      });
    }
    const span = Math.min(SECONDS, Math.max(30, history.length));
    const late = Array(span - history.length).fill(null);
    chart.data.labels = Array.from({ length: span }, (_, at) => span - 1 - at);
    ["active", "pending", "max"].forEach((name, place) => {
      chart.data.datasets[place].data = [...late, ...history.map((each) => each[name])];
    });
    for (const axis of Object.values(chart.options.scales)) {
      axis.ticks.color = axis.title.color = css("--body-quiet-color");
      axis.grid = { color: css("--hairline-color") };
    }
    chart.options.plugins.legend.labels.color = css("--body-fg");
    chart.update("none");
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    timer = 0;
    if (!document.hidden) ask();
  });
  follow(state.querySelector(".state").dataset);
  timer = setTimeout(ask, INTERVAL_MS);
})();
