/* Runs of a sweep: what the command says of the form, its page as soon as it has one, and how far it has come. */
"use strict";

(function () {
  const PAUSE_MS = 1000;

  /* The answer; null where there is none, and where it is the login's. */
  async function get(address, options = {}) {
    const answer = await fetch(address, options).catch(() => null);
    return answer && answer.ok && !answer.redirected ? answer : null;
  }

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
      const answer = await get(form.dataset.check, { method: "POST", body: new FormData(form) });
      const found = answer ? await answer.json() : { fits: false, said: "the site does not answer, or you are logged out" };
      said.textContent = found.said;
      said.className = found.fits ? "met" : "missed";
      asked = false;
      if (changed) check();
    };
    /* The default of one field depends on another. */
    const suit = () => { ms.placeholder = workload.selectedOptions[0].dataset.ms || usual; };

    suit();
    form.addEventListener("change", () => { suit(); check(); });
    if (!("running" in form.dataset)) check();
  }

  // -- a sweep without a number yet ---------------------------------------------------------------------------------

  const started = document.querySelector("[data-started]");
  async function wait() {
    const answer = await get(started.dataset.started);
    if (answer) {
      const now = await answer.json();
      document.getElementById("said").textContent = now.said;
      if (now.page) return window.location.replace(now.page);
      if (!now.lives) return window.location.reload();
    }
    return setTimeout(wait, PAUSE_MS);
  }
  if (started) setTimeout(wait, PAUSE_MS);

  // -- a sweep that runs: only what has changed is put in its place -------------------------------------------------

  const part = document.getElementById("progress");
  const trouble = document.getElementById("trouble");
  const notes = document.getElementById("id_notes");
  async function look() {
    if (document.hidden) return setTimeout(look, PAUSE_MS);
    const answer = await get(part.dataset.address);
    trouble.hidden = answer !== null;
    if (answer) {
      const found = document.createElement("template");
      found.innerHTML = await answer.text();
      const ended = found.content.querySelector("[data-status]").dataset.status !== "running";
      if (ended || !part.contains(document.activeElement)) part.replaceChildren(found.content);
      const typed = notes && (notes.value !== notes.defaultValue || document.activeElement === notes);
      if (ended && !typed) return window.location.reload();
      if (ended) return undefined; // what is typed stays; the line says where to look
    }
    return setTimeout(look, PAUSE_MS);
  }
  if (part && part.dataset.address) setTimeout(look, PAUSE_MS);
})();
