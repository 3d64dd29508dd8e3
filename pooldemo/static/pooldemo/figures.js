/* Draws a page's figures on canvases: the points of `figure-data`, which the page also holds as SVG. Hover or focus
   (then the arrow keys) shows a point's numbers; the fields of #play move the bound. */
"use strict";

(function () {
  const element = document.getElementById("figure-data");
  if (!element || !window.Chart) return;
  const data = JSON.parse(element.textContent);
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]; // as in charts.py
  const SHAPES = ["circle", "rect", "triangle", "rectRot", "triangle", "crossRot"];
  const charts = {};

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function colourOf(place) {
    return place === null ? css("--body-quiet-color") : COLOURS[place % COLOURS.length];
  }

  // -- what Chart.js does not draw by itself ------------------------------------------------------------------------

  const marks = {
    id: "marks",
    afterDatasetsDraw(chart) {
      const { ctx, chartArea } = chart;
      const taken = [];
      chart.data.datasets.forEach((dataset, index) => {
        if (!chart.isDatasetVisible(index) || !dataset.series) return;
        chart.getDatasetMeta(index).data.forEach((point, place) => {
          const value = dataset.data[place];
          ctx.save();
          ctx.strokeStyle = ctx.fillStyle = dataset.borderColor;
          if (value.low !== null && value.high !== null) whisker(chart, point.x, value);
          if (value.doubt) {
            ctx.font = "700 15px system-ui";
            ctx.fillText("!", point.x + 7, point.y - 6);
          }
          if (value.x === dataset.series.mark) {
            ctx.lineWidth = 2;
            ctx.beginPath();
            ctx.arc(point.x, point.y, 10, 0, 2 * Math.PI);
            ctx.stroke();
            label(ctx, chartArea, point, dataset.series.mark_label, taken);
          }
          ctx.restore();
        });
      });
    },
  };

  function whisker(chart, x, value) {
    const { ctx, scales } = chart;
    const low = scales.y.getPixelForValue(Math.max(0, value.low));
    const high = scales.y.getPixelForValue(Math.min(scales.y.max, value.high));
    ctx.lineWidth = 1.4;
    ctx.beginPath();
    [[x, low, x, high], [x - 4, low, x + 4, low], [x - 4, high, x + 4, high]].forEach(([x1, y1, x2, y2]) => {
      ctx.moveTo(x1, y1);
      ctx.lineTo(x2, y2);
    });
    ctx.stroke();
  }

  function label(ctx, area, point, text, taken) {
    ctx.font = "600 12px system-ui";
    const half = ctx.measureText(text).width / 2;
    const x = Math.min(Math.max(point.x, area.left + half), area.right - half);
    let y = area.top - 6;
    while (taken.some((other) => other.y === y && Math.abs(other.x - x) < other.half + half + 8)) y -= 15;
    taken.push({ x, y, half });
    ctx.textAlign = "center";
    ctx.fillStyle = css("--body-fg");
    ctx.fillText(text, x, y);
    ctx.globalAlpha = 0.5;
    ctx.lineWidth = 1;
    ctx.setLineDash([2, 3]);
    ctx.beginPath();
    ctx.moveTo(point.x, area.top - 3);
    ctx.lineTo(point.x, point.y - 12);
    ctx.stroke();
  }

  const allowed = {
    id: "allowed",
    afterDatasetsDraw(chart) {
      const { ctx, scales } = chart;
      const bars = chart.figure && chart.figure.bars;
      if (!bars) return;
      bars.forEach((bar, place) => {
        const elements = chart.data.datasets.map((_, index) => chart.getDatasetMeta(index).data[place]);
        const left = Math.min(...elements.map((each) => each.x - each.width / 2)) - 4;
        const right = Math.max(...elements.map((each) => each.x + each.width / 2)) + 4;
        const base = scales.y.getPixelForValue(0);
        const top = scales.y.getPixelForValue(bar.allowed);
        ctx.save();
        ctx.strokeStyle = css("--body-fg");
        ctx.setLineDash([4, 3]);
        ctx.beginPath();
        ctx.moveTo(left, base);
        ctx.lineTo(left, top);
        ctx.lineTo(right, top);
        ctx.lineTo(right, base);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.fillStyle = css("--body-fg");
        ctx.textAlign = "center";
        elements.forEach((each, index) => {
          const seen = bar.seen[index];
          if (seen === null) return;
          ctx.font = `${seen > bar.allowed ? 700 : 400} 11px system-ui`;
          ctx.fillText(String(seen), each.x, each.y - 4);
        });
        ctx.restore();
      });
    },
  };

  // -- from a figure to a chart -------------------------------------------------------------------------------------

  function lineDataset(series) {
    const colour = colourOf(series.colour);
    const place = (series.colour || 0) % SHAPES.length;
    return {
      label: series.name,
      series,
      data: [...series.points].sort((a, b) => a.x - b.x),
      borderColor: colour,
      backgroundColor: colour,
      borderWidth: series.dashed ? 1.5 : 2.2,
      borderDash: series.dashed ? [5, 5] : [],
      pointStyle: series.dashed ? "line" : SHAPES[place],
      rotation: place === 4 ? 180 : 0,
      pointRadius: series.dashed ? 0 : 5,
      pointHoverRadius: series.dashed ? 0 : 8,
      pointHitRadius: series.dashed ? 0 : 10,
    };
  }

  function trialDataset(name, place) {
    const colour = colourOf(place);
    return {
      label: `each trial of ${name}`,
      trials: true,
      showLine: false,
      data: data.trials.filter((trial) => trial.stack === place),
      borderColor: "transparent",
      backgroundColor: `${colour}66`,
      pointStyle: SHAPES[place % SHAPES.length],
      pointRadius: 3,
      pointHoverRadius: 5,
      pointHitRadius: 5,
    };
  }

  function lines(figure, name) {
    const solid = figure.series.filter((series) => !series.dashed);
    const points = solid.flatMap((series) => series.points);
    const ticks = figure.x_axis.ticks;
    const [first, last] = [Math.min(...ticks), Math.max(...ticks)];
    const logarithmic = first > 0 && last / first >= 8;
    const datasets = figure.series.filter((series) => series.points.length).map(lineDataset);
    if (name === "throughput") solid.forEach((series, place) => datasets.push(trialDataset(series.name, place)));
    const trials = name === "throughput" ? data.trials.map((trial) => trial.y) : [];
    return {
      type: "line",
      data: { datasets },
      options: options(figure, {
        type: logarithmic ? "logarithmic" : "linear",
        min: logarithmic ? first / 1.12 : 0,
        max: logarithmic ? last * 1.12 : last * 1.04,
        afterBuildTicks: (axis) => {
          axis.ticks = ticks.map((value) => ({ value }));
        },
        ticks: { callback: (value) => value, autoSkip: true, maxRotation: 0 },
      }, niceTop(1.06 * Math.max(...points.map((point) => point.high === null ? point.y : point.high), ...trials))),
      plugins: [marks],
    };
  }

  function bars(figure) {
    const most = Math.max(...figure.bars.flatMap((bar) => [bar.allowed, ...bar.seen]));
    return {
      type: "bar",
      data: {
        labels: figure.bars.map((bar) => bar.label),
        datasets: figure.names.map((name, place) => ({
          label: name,
          data: figure.bars.map((bar) => bar.seen[place]),
          backgroundColor: colourOf(place),
          pointStyle: "rect",
          barPercentage: 0.85,
          categoryPercentage: 0.7,
        })),
      },
      options: options(figure, { type: "category" }, niceTop(1.06 * most)),
      plugins: [allowed],
    };
  }

  function niceTop(top) {
    if (!(top > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(top / 5));
    const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= (top / 5) * (1 - 1e-9));
    return Math.ceil(top / step - 1e-9) * step;
  }

  function options(figure, x, top) {
    const [ink, quiet, line] = ["--body-fg", "--body-quiet-color", "--hairline-color"].map(css);
    const axis = (label, more) => ({
      ...more,
      title: { display: true, text: label, color: quiet },
      grid: { color: line },
      border: { color: quiet },
      ticks: { color: quiet, ...(more.ticks || {}) },
    });
    return {
      animation: false,
      maintainAspectRatio: false,
      layout: { padding: { right: 12 } },
      interaction: { mode: "nearest", intersect: true },
      scales: {
        x: axis(figure.x_axis.label, x),
        y: axis(figure.y_axis.label, { beginAtZero: true, min: 0, max: top }),
      },
      onHover(_event, active, chart) {
        say(chart, active);
      },
      plugins: {
        title: {
          display: true, text: figure.title, color: ink, align: "start", font: { size: 15, weight: 600 },
          padding: { bottom: figure.series ? 34 : 12 },
        },
        legend: {
          position: "bottom",
          labels: {
            color: ink,
            usePointStyle: true,
            filter: (item, all) => !all.datasets[item.datasetIndex].trials,
          },
        },
        tooltip: {
          usePointStyle: true,
          callbacks: { title: () => "", label: (item) => words(item.chart, item.datasetIndex, item.dataIndex) },
        },
      },
    };
  }

  // -- what a point says --------------------------------------------------------------------------------------------

  function words(chart, dataset, index) {
    const set = chart.data.datasets[dataset];
    if (chart.figure.bars) {
      const bar = chart.figure.bars[index];
      return [`${set.label} at ${bar.label}: ${bar.seen[dataset]} connections seen, ${bar.allowed} allowed`];
    }
    const point = set.data[index];
    if (Array.isArray(point.hint)) return point.hint;
    const hint = point.hint || `${set.label} at ${round(point.x)}: ${round(point.y)}`;
    return point.doubt ? [hint, `in doubt: ${point.doubt}`] : [hint];
  }

  function round(value) {
    return Number(value.toPrecision(3)).toLocaleString("en");
  }

  function say(chart, active) {
    const text = active.length ? words(chart, active[0].datasetIndex, active[0].index).join("; ") : "";
    if (chart.readout.textContent !== text) chart.readout.textContent = text;
  }

  function show(chart, active) {
    chart.setActiveElements(active);
    const at = active.length ? active[0].element.getCenterPoint() : { x: 0, y: 0 };
    chart.tooltip.setActiveElements(active, at);
    chart.update("none");
    say(chart, active);
  }

  /* Left and right go along a line, up and down to the next one at the same place. */
  function steer(chart, event) {
    const sets = chart.data.datasets.map((set, index) => ({ set, index }))
      .filter(({ set, index }) => chart.isDatasetVisible(index) && !(set.series && set.series.dashed) && !set.trials);
    if (!sets.length) return;
    const at = chart.cursor || { row: 0, place: 0 };
    const size = (row) => sets[row].set.data.length;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Escape") {
      show(chart, []);
      return;
    }
    if (event.type === "keydown") {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      at.row = (at.row + move[0] + sets.length) % sets.length;
      at.place = Math.min(Math.max(at.place + move[1], 0), size(at.row) - 1);
    }
    chart.cursor = at;
    const datasetIndex = sets[at.row].index;
    const elementAt = chart.getDatasetMeta(datasetIndex).data[at.place];
    if (elementAt) show(chart, [{ datasetIndex, index: at.place, element: elementAt }]);
  }

  // -- the page -----------------------------------------------------------------------------------------------------

  function draw(holder) {
    const name = holder.dataset.figure;
    const figure = data.figures[name];
    const empty = figure.bars ? !figure.bars.length : !figure.series.some((series) => series.points.length);
    if (empty) return;
    const old = charts[name];
    const canvas = old ? old.canvas : document.createElement("canvas");
    if (old) old.destroy(); // it then no longer knows its canvas
    const readout = old ? old.readout : document.createElement("figcaption");
    if (!old) {
      const box = document.createElement("div");
      box.className = "canvas";
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${figure.title}. ${figure.description}. The arrow keys go from point to point.`);
      readout.className = "readout";
      readout.setAttribute("aria-live", "polite");
      box.append(canvas);
      holder.append(box, readout);
      canvas.addEventListener("focus", (event) => canvas.matches(":focus-visible") && steer(charts[name], event));
      canvas.addEventListener("keydown", (event) => steer(charts[name], event));
      canvas.addEventListener("blur", () => show(charts[name], []));
      holder.classList.add("drawn");
    }
    const chart = new window.Chart(canvas, figure.bars ? bars(figure) : lines(figure, name));
    chart.figure = figure;
    chart.readout = readout;
    charts[name] = chart;
    chart.update("none");
  }

  function drawAll() {
    document.querySelectorAll("[data-figure]").forEach(draw);
    if (window.pooldemoPlay) window.pooldemoPlay(); // its fields keep what was typed
  }

  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.pooldemoFigures = { charts, data, round };
  drawAll();
})();
