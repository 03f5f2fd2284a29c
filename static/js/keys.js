// `g` and then a letter goes to a page. Links say theirs in data-key. Off in fields, and it can be switched off.
"use strict";
(() => {
  const WITHIN_MS = 1500;
  let goes = 0;

  const areOn = () => {
    try {
      return localStorage.getItem("keys") !== "off";
    } catch {
      return true; // storage is switched off
    }
  };

  const show = () => {
    for (const button of document.querySelectorAll("[data-keys-switch]")) {
      button.hidden = false;
      button.textContent = areOn() ? "Shortcuts on" : "Shortcuts off";
      button.title = "g, then o, c, p, m, r or k goes to a page";
    }
  };

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-keys-switch]")) return;
    try {
      localStorage.setItem("keys", areOn() ? "off" : "on");
    } catch {
      // It cannot be remembered, so it stays.
    }
    show();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !areOn()) return;
    if (event.target.closest?.("input, select, textarea, dialog, [contenteditable]")) return;
    const isSecond = Date.now() - goes < WITHIN_MS;
    goes = event.key === "g" ? Date.now() : 0;
    if (!isSecond) return;
    const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
    if (link) link.click();
  });

  show();

  // On a narrow screen the pages stand in a bar that scrolls: it begins where one is.
  const bar = document.querySelector(".rail nav");
  const here = bar?.querySelector("[aria-current]");
  if (here) bar.scrollLeft = here.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
})();
