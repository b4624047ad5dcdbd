// A ballot: how long it was looked at, arrows as in the terminal, and the next one from its top.
"use strict";

(() => {
  let shown = performance.now();
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.path !== "/vote/verdict") return;
    event.detail.parameters.set("seconds", ((performance.now() - shown) / 1000).toFixed(2));
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target.id !== "ballot") return;
    shown = performance.now();
    scrollTo(0, 0);
  });
  const arrows = { ArrowLeft: "say-left", ArrowRight: "say-right" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const button = document.getElementById(arrows[event.key]);
    if (!button || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    button.click();
  });
})();
