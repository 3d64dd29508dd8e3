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

  // -- a picture to save --------------------------------------------------------------------------------------------

  /* The figure as it is seen, in this page's colours, on a canvas of twice its size. */
  async function png(svg) {
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const copy = svg.cloneNode(true);
    copy.setAttribute("color", getComputedStyle(svg).color);
    copy.setAttribute("width", 2 * width);
    copy.setAttribute("height", 2 * height);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * width, 2 * height];
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
  }

  document.querySelectorAll("[data-figure] .save").forEach((line) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "PNG";
    button.setAttribute("aria-label", `${line.closest("[data-figure]").dataset.figure} as PNG`);
    button.addEventListener("click", async () => {
      const link = document.createElement("a");
      const seen = [...line.closest("[data-figure]").querySelectorAll("svg.plot")].find((svg) => svg.checkVisibility());
      link.href = await png(seen);
      link.download = `${line.dataset.file}.png`;
      link.click();
    });
    line.append(" ", button);
  });

  // -- from point to point ------------------------------------------------------------------------------------------

  document.querySelectorAll("[data-figure] svg.plot").forEach((svg) => {
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
