/* The live pool: asks once a second for the part of the page that changes, and not at all in a hidden tab. */
"use strict";

(function () {
  const page = document.getElementById("live");
  if (!page) return;
  const INTERVAL_MS = 1000;
  const PATIENCE_MS = 5000;
  const state = document.getElementById("live-state");
  const trouble = document.getElementById("live-trouble");
  let timer = 0;
  let asks = false;

  /* Somebody reads inside a table with the keyboard, or has marked a text: leave it in place until that is over. */
  function isRead() {
    const marked = window.getSelection();
    return state.contains(document.activeElement) || (marked && !marked.isCollapsed && state.contains(marked.anchorNode));
  }

  function tell(text) {
    trouble.hidden = !text;
    if (trouble.textContent !== text) trouble.textContent = text; // each change is read aloud
  }

  async function ask() {
    clearTimeout(timer);
    if (asks) return; // whose answer is under way asks again: each tab that came back then asked twice as often
    asks = true;
    const abort = new AbortController();
    const patience = setTimeout(() => abort.abort(), PATIENCE_MS);
    let isOver = false;
    try {
      const response = await fetch(page.dataset.state, { signal: abort.signal });
      const text = await response.text();
      isOver = response.status === 403; // it says what to do; each question was a line in the site's log
      if (!response.ok) { // a balancer, or an error of the site, sends a page: no sentence to show
        const isSentence = (response.headers.get("Content-Type") || "").startsWith("text/plain");
        throw new Error(isSentence ? text : `The site answers ${response.status}: the numbers below are old.`);
      }
      if (!isRead()) state.innerHTML = text;
      tell(isRead() ? "The numbers stand still while you read or mark them here." : "");
    } catch (error) {
      tell(error.name === "AbortError" || error instanceof TypeError
        ? "The site does not answer: the numbers below are old." : error.message);
    } finally {
      clearTimeout(patience);
      asks = false;
      if (!isOver && !document.hidden) timer = setTimeout(ask, INTERVAL_MS);
    }
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) ask();
  });
  timer = setTimeout(ask, INTERVAL_MS);
})();
