/* Says beside each slider what it stands at; without this the button still sends it. */
"use strict";

document.querySelectorAll("input[type=range]").forEach((slider) => {
  const value = slider.closest("label").querySelector("output");
  slider.addEventListener("input", () => { value.textContent = slider.value; });
  value.textContent = slider.value; // a browser keeps what was chosen when it goes back
});
