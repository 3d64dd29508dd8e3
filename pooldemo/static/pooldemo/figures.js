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

  /* The figure as it is seen, in this page's colours, at twice its size. */
  function drawn(svg) {
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const copy = svg.cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("color", getComputedStyle(svg).color);
    copy.setAttribute("width", 2 * width);
    copy.setAttribute("height", 2 * height);
    const text = new XMLSerializer().serializeToString(copy);
    return [`data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`, 2 * width, 2 * height];
  }

  async function png(svg) {
    const image = new Image();
    const canvas = document.createElement("canvas");
    [image.src, canvas.width, canvas.height] = drawn(svg);
    await image.decode();
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
  }

  document.querySelectorAll("[data-figure]").forEach((figure) => {
    let line = figure.querySelector(".save");  // with a link to the SVG, where the server draws it as a file
    const ways = line ? { PNG: png } : { SVG: (svg) => drawn(svg)[0], PNG: png };
    if (!line) {
      line = figure.appendChild(document.createElement("p"));
      line.className = "save";
      line.dataset.file = figure.dataset.figure;
    }
    Object.entries(ways).forEach(([kind, made]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind;
      button.setAttribute("aria-label", `${figure.dataset.figure} as ${kind}`);
      button.addEventListener("click", async () => {
        const link = document.createElement("a");
        link.href = await made([...figure.querySelectorAll("svg.plot")].find((svg) => svg.checkVisibility()));
        link.download = `${line.dataset.file}.${kind.toLowerCase()}`;
        link.click();
      });
      line.append(" ", button);
    });
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
