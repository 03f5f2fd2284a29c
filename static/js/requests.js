// The newest requests, live: asks for rows that came since, and puts them at the top where that disturbs nobody.
// At most five rows a second; a tab in the background asks nothing, and a paused page only counts. What stands above the
// list is read anew with it each minute.
"use strict";
(() => {
  const MOST_ROWS = 100;
  const NEW_FOR_MS = 2000;
  const RETRY_S = [1, 2, 5, 10];
  const FIGURES = ["#verdict", ".over-time"];
  const MINUTE = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

  const connection = document.getElementById("connection");
  const updated = document.getElementById("updated");
  const stale = document.getElementById("stale");
  const pause = document.getElementById("pause");
  const heldButton = document.getElementById("held");
  const title = document.getElementById("rows-title");
  const note = document.getElementById("tail-note");
  const rows = document.getElementById("rows");
  if (!rows?.dataset.newest) return;

  const everyMs = 1000 * Number(rows.dataset.every);
  const againMs = 1000 * Number(rows.dataset.again);
  let newest = rows.dataset.newest;
  let held = [];
  let isPaused = false;
  let failures = 0;
  let lastAnswer = Date.now();
  let readAt = Date.now(); // the page, with its figures
  let wasAway = false; // the page was in the background, and asked nothing
  let gap = null; // the row above which there are more than are listed; all of them, where none is

  const show = () => {
    const state = failures ? "lost" : isPaused ? "paused" : "live";
    if (connection.dataset.shown !== state) connection.innerHTML = connection.dataset[state]; // from the template
    connection.dataset.shown = state;
    const seconds = Math.round((Date.now() - lastAnswer) / 1000);
    const figures = Date.now() - readAt > 2 * againMs ? `, figures as of ${MINUTE.format(readAt)}` : "";
    updated.textContent = isPaused ? "" : `updated ${seconds} s ago${figures}`;
    stale.hidden = !failures;
    note.textContent = gap ? "more came than are listed" : "";
    heldButton.hidden = held.length === 0;
    heldButton.textContent = `${held.length}${held.length >= MOST_ROWS ? " or more" : ""} new`;
    if (!failures) return;
    stale.querySelector("b").textContent = `Not live: last update ${seconds} s ago.`;
    stale.querySelector("span").textContent = "No answer came; trying again.";
  };

  const isUsed = (part) => {
    if (!part) return false;
    const selection = getSelection();
    return part.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(part, true));
  };

  const isHeld = () => isPaused || title.getBoundingClientRect().bottom < 0 || isUsed(rows);

  const beforeLast = () => {
    const query = new URLSearchParams(location.search);
    query.set("before", rows.lastElementChild.id.replace("request-", ""));
    return query;
  };

  // Leads to what goes before the last row that is listed. The link stays, since it may have the focus.
  const older = (address, words) => {
    let link = document.getElementById("older");
    if (!link) {
      link = document.createElement("a");
      link.id = "older";
      link.dataset.earlier = "";
      document.querySelector(".pager").append(link);
    }
    link.setAttribute("href", address);
    link.textContent = words;
  };

  const release = () => {
    const fresh = held;
    held = [];
    document.getElementById("no-rows")?.remove();
    rows.prepend(...fresh);
    for (const row of fresh) row.classList.add("is-new");
    if (rows.children.length > MOST_ROWS) {
      while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
      older(`?${beforeLast()}`, "Older");
    }
    if (!gap?.isConnected && !held.includes(gap)) gap = null;
    setTimeout(() => fresh.forEach((row) => row.classList.remove("is-new")), NEW_FOR_MS);
    show();
  };

  // What came, and whether there may be more of it.
  const take = (html, hasMore) => {
    const holder = document.createElement("template");
    holder.innerHTML = html; // rows of our own template
    const fresh = [...holder.content.querySelectorAll("tr")].filter((row) => !document.getElementById(row.id));
    if (hasMore) gap = held[0] ?? rows.firstElementChild ?? rows;
    if (!fresh.length) return;
    held = fresh.concat(held).slice(0, MOST_ROWS);
    if (!isHeld()) release();
    document.dispatchEvent(new Event("rows:new")); // times.js puts their times into the viewer's zone
  };

  const isDue = () => (wasAway && gap) || Date.now() - readAt >= againMs;
  const isFree = () => !isHeld() && !FIGURES.some((part) => isUsed(document.querySelector(part)));

  // The list and its figures as they are by now.
  const readAgain = async () => {
    const answer = await fetch(location.href);
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.getElementById("rows");
    if (!now?.dataset.newest) throw new Error("The ledger did not answer in time.");
    if (!isFree()) return; // by now somebody reads
    rows.replaceChildren(...now.children);
    const further = page.getElementById("older");
    if (further) older(further.getAttribute("href"), further.textContent);
    else document.getElementById("older")?.remove();
    document.getElementById("no-rows")?.remove();
    const none = page.getElementById("no-rows");
    if (none) document.querySelector(".pager").before(none);
    for (const part of FIGURES) swap(document.querySelector(part), page.querySelector(part));
    [newest, held, gap, wasAway, readAt] = [now.dataset.newest, [], null, false, Date.now()];
    document.dispatchEvent(new Event("rows:new"));
  };

  const swap = (old, fresh) => {
    if (!old || !fresh) return old ? old.remove() : fresh && document.getElementById("announcement").before(fresh);
    const table = old.querySelector("details");
    const top = table?.querySelector(".scroll").scrollTop;
    if (table?.open) fresh.querySelector("details").open = true;
    old.replaceWith(fresh);
    if (top) fresh.querySelector(".scroll").scrollTop = top;
  };

  const ask = async () => {
    if (!document.hidden) {
      const address = new URL(location.href);
      address.searchParams.set("part", "news");
      address.searchParams.set("after", newest);
      try {
        const answer = await fetch(address, { headers: { "HX-Request": "true" } });
        if (answer.status === 401 || answer.redirected) return location.reload();
        if (!answer.ok) throw new Error(answer.status);
        const html = await answer.text(); // before it counts as heard: it may break off
        newest = answer.headers.get("X-Newest") ?? newest;
        take(html, answer.headers.has("X-More"));
        if (isDue() && isFree()) await readAgain();
        wasAway = wasAway && gap !== null;
        failures = 0;
        lastAnswer = Date.now();
      } catch {
        failures += 1;
      }
    }
    show();
    setTimeout(ask, failures ? 1000 * RETRY_S[Math.min(failures, RETRY_S.length) - 1] : everyMs);
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(isPaused));
    if (!isHeld() && held.length) release();
    show();
  });

  heldButton.addEventListener("click", () => {
    release();
    rows.querySelector("a")?.focus();
    title.scrollIntoView({ block: "nearest" });
  });

  document.addEventListener("visibilitychange", () => (wasAway ||= document.hidden));

  const releaseIfFree = () => held.length && !isHeld() && release();
  document.addEventListener("focusout", () => setTimeout(releaseIfFree));
  document.addEventListener("scroll", releaseIfFree, { passive: true });

  lastAnswer = Date.now();
  show();
  setTimeout(ask, everyMs);
  setInterval(show, 1000);
})();
