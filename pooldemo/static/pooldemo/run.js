/* Runs of a sweep: what the command says of the form, its page as soon as it has one, and how far it has come. */
"use strict";

(function () {
  const PAUSE_MS = 1000;

  async function get(address) {
    const answer = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
    return answer && answer.ok ? answer : null;
  }

  // -- the form: asked once a change, one question at a time --------------------------------------------------------

  const form = document.getElementById("run");
  if (form) {
    const said = document.getElementById("estimate");
    const button = document.getElementById("check");
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
      const answer = await fetch(form.dataset.check, { method: "POST", body: new FormData(form) }).catch(() => null);
      const found = answer && answer.ok ? await answer.json() : { fits: false, said: "the site does not answer" };
      said.textContent = found.said;
      said.className = found.fits ? "met" : "missed";
      asked = false;
      if (changed) check();
    };
    button.hidden = false;
    button.addEventListener("click", check);
    form.addEventListener("change", check);
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
  const notes = document.getElementById("id_notes");
  async function look() {
    const answer = document.hidden ? null : await get(part.dataset.address);
    if (answer) {
      const text = await answer.text();
      if (!part.contains(document.activeElement)) part.innerHTML = text;
      const ended = part.firstElementChild.dataset.status !== "running";
      const typed = notes && (notes.value !== notes.defaultValue || document.activeElement === notes);
      if (ended && !typed) return window.location.reload();
      if (ended) return undefined; // what is typed stays; the line says where to look
    }
    return setTimeout(look, PAUSE_MS);
  }
  if (part && part.dataset.address) setTimeout(look, PAUSE_MS);
})();
