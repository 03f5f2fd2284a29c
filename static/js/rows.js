// `j` and `k` go from row to row, `x` selects the one that has the focus. Enter is the browser's: the focus is on the
// link of the row. After a part of the page was swapped the focus goes on where it was, and so do tables that scroll.
"use strict";
(() => {
  const FIELDS = "input:not([type=checkbox], [type=radio]), select, textarea, dialog, [contenteditable]";
  const CLOSED = "dialog:not([open])"; // what is in it keeps the focus until the next frame
  const isTyped = (target) => target.closest?.(FIELDS) && !target.closest(CLOSED);
  const ROWS = "main .rows:not(.few) tbody tr, main [data-rule]"; // a few beside others are not what a page lists

  const areOn = () => document.documentElement.dataset.keys !== "off";
  const target = (row) => row.querySelector(".row-link, th a, td a, a, button, input[type=checkbox]");
  const rows = () => [...document.querySelectorAll(ROWS)].filter((row) => row.checkVisibility() && target(row));

  const go = (step) => {
    const all = rows();
    const here = all.indexOf(document.activeElement?.closest?.(ROWS));
    // From elsewhere the first one that can be seen.
    const from = all.findIndex((row) => row.getBoundingClientRect().top >= 0);
    const next = here < 0 ? all[Math.max(from, 0)] : all[here + step];
    if (!next) return;
    target(next).focus();
    next.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !areOn() || isTyped(event.target)) return;
    if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
    else if (event.key === "x") document.activeElement?.closest?.(ROWS)?.querySelector("input[type=checkbox]")?.click();
  });

  let focused = null;
  let opened = []; // what is folded open stays so
  let scrolled = []; // and a table stays where it was scrolled to
  document.addEventListener("htmx:beforeSwap", (event) => {
    opened = [...(event.detail.target?.querySelectorAll?.("details[open][id]") ?? [])].map((one) => one.id);
    scrolled = [...(event.detail.target?.querySelectorAll?.(".scroll[id]") ?? [])]
      .filter((one) => one.scrollLeft || one.scrollTop)
      .map((one) => [one.id, one.scrollLeft, one.scrollTop]);
    const active = document.activeElement;
    focused = event.detail.target?.contains?.(active) && active !== document.body ? active.id || null : null;
    if (focused === null && event.detail.target?.contains?.(active)) focused = "";
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    opened = [];
    for (const [id, left, top] of scrolled) document.getElementById(id)?.scrollTo({ left, top, behavior: "instant" });
    scrolled = [];
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (focused === null || document.activeElement !== document.body) return (focused = null);
    const again = focused && document.getElementById(focused);
    const heading = document.querySelector("dialog[open]") ? null : document.querySelector("main h1");
    if (again) again.focus({ preventScroll: true });
    else if (heading) {
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    }
    focused = null;
  });
})();
