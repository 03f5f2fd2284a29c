// Keys: `g` and then a letter goes to a page, the others do what stands in the list of `?`. Links say their letter in
// data-key. Off in fields and dialogs, and they can be switched off.
"use strict";
(() => {
  const WITHIN_MS = 1500;
  const FIELDS = "input:not([type=checkbox], [type=radio]), select, textarea, dialog, [contenteditable]";
  const CLOSED = "dialog:not([open])"; // what is in it keeps the focus until the next frame
  let goes = -WITHIN_MS;

  const areOn = () => {
    try {
      return localStorage.getItem("keys") !== "off";
    } catch {
      return true; // storage is switched off
    }
  };

  const show = () => {
    for (const button of document.querySelectorAll("[data-keys-list]")) button.hidden = false;
    for (const button of document.querySelectorAll("[data-keys-switch]")) {
      button.textContent = areOn() ? "Switch the keys off" : "Switch the keys on";
    }
    document.documentElement.dataset.keys = areOn() ? "on" : "off";
  };

  const list = () => {
    const dialog = document.getElementById("dialog");
    dialog.replaceChildren(document.getElementById("keys-list").content.cloneNode(true));
    show();
    dialog.showModal();
  };

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-keys-list]")) return list();
    if (!event.target.closest("[data-keys-switch]")) return;
    try {
      localStorage.setItem("keys", areOn() ? "off" : "on");
    } catch {
      // It cannot be remembered, so it stays.
    }
    show();
  });

  const first = (...selectors) => {
    for (const selector of selectors) {
      const found = [...document.querySelectorAll(selector)].find((one) => one.checkVisibility());
      if (found) return found;
    }
    return null;
  };

  const ACTS = {
    "/": () => document.querySelector("[data-finder]"),
    "?": list,
    ".": () => first("[data-pause]", "#pause"),
    "[": () => first("[data-earlier]"),
    "]": () => first("[data-later]"),
    f: () => {
      const field = first("main [data-filter]", "main [role=search] input[type=search]", "main [role=search] :is(input, select)");
      field?.focus();
      field?.select?.();
      return field && { click() {} };
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return closeMore();
    if (event.ctrlKey || event.metaKey || event.altKey || !areOn()) return;
    if (event.target.closest?.(FIELDS) && !event.target.closest(CLOSED)) return;
    const isSecond = event.timeStamp - goes < WITHIN_MS; // when it was typed, however late the page hears of it
    goes = event.key === "g" ? event.timeStamp : -WITHIN_MS;
    const found = isSecond
      ? document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`)
      : Object.hasOwn(ACTS, event.key) && ACTS[event.key]();
    if (isSecond || found) event.stopImmediatePropagation(); // the second letter of two is no key of its own
    if (!found) return;
    event.preventDefault(); // or the letter would be typed into the field that has the focus now
    found.click();
  });

  // On a narrow screen "More" opens a sheet over the page; it closes like a menu does.
  const more = document.querySelector("details.other-pages");
  const closeMore = () => {
    if (!more.open) return;
    more.open = false;
    more.querySelector("summary").focus();
  };
  document.addEventListener("click", (event) => {
    if (more.open && !more.contains(event.target)) more.open = false;
  });

  show();
})();
