/* Runs of a sweep: what the command says of the form, its page as soon as it has one, and how far it has come. */
"use strict";

(function () {
  const PAUSE_MS = 1000;
  const PATIENCE_MS = 10000;

  const NOT_NOW = { 403: "you may not see it any more", 404: "it was deleted", 503: "the database does not answer now" };

  /* The whole answer as `read` makes it, or why there is none. */
  async function get(address, read, options = { signal: AbortSignal.timeout(PATIENCE_MS) }) {
    let text = "";
    try {
      const answer = await fetch(address, options);
      if (answer.redirected) return { why: "you are logged out" };
      if (!answer.ok) return { why: NOT_NOW[answer.status] || `the site answers ${answer.status}` };
      text = await answer.text();
    } catch {
      return { why: "the site does not answer" };
    }
    try {
      return { now: read(text) };
    } catch {
      return { why: "another program answers in its place" };
    }
  }

  const trouble = document.getElementById("trouble");
  function doubt(why = "") {
    const old = why && `What stands below is old: ${why}.`;
    trouble.hidden = !old;
    if (trouble.textContent !== old) trouble.textContent = old; // each change is read aloud
  }

  // -- a double click sends a form once: it stopped a sweep at once, or said of one's own that another runs -----------

  let sentAt = -Infinity;
  document.addEventListener("submit", (event) => {
    if (event.timeStamp - sentAt < 1000) event.preventDefault();
    else sentAt = event.timeStamp;
  });

  // -- the form: asked once a change, one question at a time --------------------------------------------------------

  const form = document.getElementById("run");
  if (form) {
    const said = document.getElementById("estimate");
    const { workload, ms } = form.elements;
    const usual = ms.placeholder;
    let asked = false;
    let changed = false;

    const check = async () => {
      if (asked) {
        changed = true; // the answer that is under way is of an older form
        return;
      }
      asked = true;
      changed = false;
      said.textContent = "asking the command…";
      const { now, why } = await get(form.dataset.check, JSON.parse, { method: "POST", body: new FormData(form) });
      const found = now || { fits: false, said: why };
      said.textContent = found.said;
      said.className = found.fits ? "met" : "missed";
      asked = false;
      if (changed) check();
    };
    /* The default of one field depends on another. */
    const suit = () => { ms.placeholder = workload.selectedOptions[0].dataset.ms || usual; };

    form.addEventListener("change", () => { suit(); check(); });
    /* Only then has the browser put back what was typed, where somebody comes back to the form. */
    window.addEventListener("pageshow", () => {
      suit();
      if (!("running" in form.dataset)) check();
    });
  }

  // -- a sweep without a number yet ---------------------------------------------------------------------------------

  const started = document.querySelector("[data-started]");
  async function wait() {
    const { now, why } = await get(started.dataset.started, JSON.parse);
    doubt(why);
    if (now) {
      document.getElementById("said").textContent = now.said;
      if (now.page) return window.location.replace(now.page);
      if (!now.lives) return window.location.reload();
    }
    return setTimeout(wait, PAUSE_MS);
  }
  if (started) setTimeout(wait, PAUSE_MS);

  // -- a sweep that runs: only what has changed is put in its place -------------------------------------------------

  const part = document.getElementById("progress");
  const told = document.getElementById("told");
  const stop = document.getElementById("stop");
  const notes = document.getElementById("id_notes");
  function step(text) {
    const found = document.createElement("template");
    found.innerHTML = text;
    return { content: found.content, ...found.content.querySelector("[data-status]").dataset };
  }
  async function look() {
    if (document.hidden) return setTimeout(look, PAUSE_MS);
    const { now, why } = await get(part.dataset.address, step);
    doubt(why);
    if (stop) stop.hidden = Boolean(why); // nobody would hear it
    if ([NOT_NOW[403], NOT_NOW[404]].includes(why)) return undefined; // each question was a line in the site's log
    if (now) {
      const ended = now.status !== "running";
      part.replaceChildren(now.content);
      const words = now.told || "It has ended.";
      if (told.textContent !== words) told.textContent = words; // each change is read aloud
      if (ended) stop?.remove();
      const typed = notes && (notes.value !== notes.defaultValue || document.activeElement === notes);
      if (ended && !typed) return window.location.reload();
      if (ended) return undefined; // what is typed stays; the line says where to look
    }
    return setTimeout(look, PAUSE_MS);
  }
  if (part && part.dataset.address) setTimeout(look, PAUSE_MS);
})();
