// A page that asks for its board anew every few seconds. htmx asks and swaps; this decides when not to,
// and says when no answer comes. A tab in the background does not ask, nor does a page in which text is selected.
"use strict";
(() => {
  const SILENCE_S = 15;

  const connection = document.getElementById("connection");
  const updated = document.getElementById("updated");
  const stale = document.getElementById("stale");
  const announcement = document.getElementById("announcement");

  let lastAnswer = Date.now();
  let shownSince = Date.now();
  let isLost = false;

  const board = () => document.getElementById("board");
  const headline = () => document.querySelector("#verdict h1")?.textContent.trim();
  const isPoll = (event) => event.detail.elt?.matches("[data-poll]");
  const isAct = (event) => event.detail.requestConfig?.verb === "post";

  const show = () => {
    const state = isLost ? "lost" : "live";
    if (connection.dataset.shown !== state) connection.innerHTML = connection.dataset[state]; // from the template
    connection.dataset.shown = state;
    const seconds = Math.round((Date.now() - lastAnswer) / 1000);
    updated.textContent = `updated ${seconds} s ago`;
    stale.hidden = !isLost;
    if (!isLost) return;
    const at = new Date(lastAnswer).toLocaleTimeString([], { hourCycle: "h23" });
    stale.querySelector("b").textContent = `Not live: last update ${seconds} s ago.`;
    stale.querySelector("span").textContent = `No answer came; trying again. What you see was true at ${at}.`;
  };

  const isSelecting = () => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(board(), true);
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (isPoll(event) && (document.hidden || isSelecting())) event.preventDefault();
  });

  // One act at a time: its answer replaces the board, and the buttons of others with it. The poll gives way to any.
  let acting = null;
  const shutOthers = () => {
    for (const button of document.querySelectorAll("#board button, button[form=board]"))
      if (button !== acting) button.setAttribute("aria-disabled", "true"); // one that is disabled loses the focus
  };
  document.addEventListener("htmx:beforeSend", (event) => {
    if (!isAct(event)) return;
    acting = event.detail.elt;
    shutOthers();
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (acting) shutOthers(); // also in a dialog that was opened meanwhile
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isAct(event)) return;
    acting = null;
    for (const button of document.querySelectorAll("#board button, button[form=board]"))
      button.removeAttribute("aria-disabled");
  });

  let said = headline();
  document.addEventListener("htmx:afterSwap", () => {
    lastAnswer = Date.now();
    isLost = false;
    show();
    if (headline() !== said) announcement.textContent = headline();
    said = headline();
  });

  for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    document.addEventListener(failure, (event) => {
      if (!isPoll(event)) return; // an act that failed is not tried again
      isLost = true;
      show();
    });
  }

  document.addEventListener("visibilitychange", () => {
    shownSince = Date.now();
    if (!document.hidden) htmx.trigger(board().querySelector("[data-poll]"), "refresh");
  });

  show();
  setInterval(() => {
    const silent = Date.now() - Math.max(lastAnswer, shownSince);
    if (!document.hidden && silent > SILENCE_S * 1000 && !isSelecting()) isLost = true;
    show();
  }, 1000);
})();
