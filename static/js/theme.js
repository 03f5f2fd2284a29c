// Light, dark, or what the system says. Runs before the page is drawn, so that it does not flash.
// The choice is kept where Django's admin keeps its own, so both look alike.
"use strict";
(() => {
  const NEXT = { auto: "light", light: "dark", dark: "auto" };
  const root = document.documentElement;
  root.dataset.script = "";

  const chosen = () => {
    try {
      const theme = localStorage.getItem("theme");
      return theme in NEXT ? theme : "auto";
    } catch {
      return "auto"; // storage is switched off
    }
  };

  const show = (theme) => {
    root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.hidden = false;
      button.textContent = { auto: "Auto theme", light: "Light theme", dark: "Dark theme" }[theme];
    }
  };

  show(chosen());
  document.addEventListener("DOMContentLoaded", () => show(chosen()));
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const theme = NEXT[root.dataset.theme];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // It holds for this page only.
    }
    show(theme);
  });
})();
