/* Goes from point to point of the drawn figures: the mouse by touching one, the keyboard by the arrows; what a point
   says stands below. What is drawn came with the page. */
"use strict";

(function () {
  const hintOf = (point) => point.querySelector("title").textContent;

  /* The points of each line; of bars, which know no lines, all in a row. */
  function linesOf(svg) {
    const lines = [...svg.querySelectorAll(".series")].map((line) => [...line.querySelectorAll(".point")]);
    return (lines.length ? lines : [[...svg.querySelectorAll(".point")]]).filter((line) => line.length);
  }

  document.querySelectorAll("[data-figure] svg.chart").forEach((svg) => {
    const readout = svg.closest("[data-figure]").querySelector(".readout");
    const lines = linesOf(svg);
    if (!lines.length) return;
    let [row, place] = [0, 0];
    let seen = null;

    function show(point) {
      if (seen) seen.classList.remove("seen");
      seen = point;
      if (seen) seen.classList.add("seen");
      const text = seen ? hintOf(seen) : "";
      if (readout.textContent !== text) readout.textContent = text;
    }

    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    svg.tabIndex = 0;
    svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")}. The arrow keys go from point to point.`);
    svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(lines[row][place]));
    svg.addEventListener("blur", () => show(null));
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") show(null);
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      row = (row + move[0] + lines.length) % lines.length;
      place = Math.min(Math.max(place + move[1], 0), lines[row].length - 1);
      show(lines[row][place]);
    });
    svg.addEventListener("pointerover", (event) => {
      const point = event.target.closest(".point");
      if (point) show(point);
    });
    svg.addEventListener("pointerleave", () => document.activeElement !== svg && show(null));
  });
})();
