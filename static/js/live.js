// The live page. htmx's ws extension connects and swaps the parts that come; this decides when.
// It stops in background tabs, says so when the connection is lost, and holds new rows back while
// somebody reads the old ones. Paused, it counts what comes and shows nothing of it.
"use strict";
(() => {
  const RETRY_S = [1, 2, 5, 10];
  const SILENCE_S = 15; // the server speaks every few seconds; longer silence is a dead connection
  const TRIED_BY_EXTENSION = [1006, 1011, 1012, 1013]; // close codes after which it connects again by itself
  const SIGNED_OUT = 4403; // the server's word for it, in the close code
  const MOST_ROWS = 100;
  const NEW_FOR_MS = 2000;

  const connection = document.getElementById("connection");
  const updated = document.getElementById("updated");
  const stale = document.getElementById("stale");
  const pause = document.getElementById("pause");
  const heldButton = document.getElementById("held");
  const tailTitle = document.getElementById("tail-title");

  let socket = null;
  let wrapper = null; // the extension's handle, with which to reconnect
  let opened = null; // the socket that was let in last
  let hasAsked = false; // why one was not
  let lastMessage = Date.now();
  let isPaused = false;
  let isLost = false;
  let closed = 0; // times since the last message that it was ended in good order
  let hasGap = false; // rows may have come that this page was not sent
  let hasSkipped = false; // a part was not swapped: text in it was selected, or the page is paused
  let held = [];
  let came = null; // while the rows are read anew: those that were brought meanwhile

  htmx.config.wsReconnectDelay = (tries) => 1000 * RETRY_S[Math.min(tries, RETRY_S.length - 1)];
  htmx.createWebSocket = (url) => (socket = new WebSocket(url));

  const rows = () => document.getElementById("rows");
  const wantsNews = () => !document.hidden;

  // Connection

  const showConnection = (state) => {
    const words = connection.dataset[state];
    if (connection.dataset.shown !== state) connection.innerHTML = words; // our own markup, from the template
    connection.dataset.shown = state;
  };

  const showAge = () => {
    const seconds = Math.round((Date.now() - lastMessage) / 1000);
    updated.textContent = isPaused ? "" : `updated ${seconds} s ago`;
    stale.hidden = !isLost;
    if (!isLost) return;
    const at = new Date(lastMessage).toLocaleTimeString([], { hourCycle: "h23" });
    stale.querySelector("b").textContent = `Not live: last update ${seconds} s ago.`;
    stale.querySelector("span").textContent = `The connection dropped; trying again. What you see was true at ${at}.`;
  };

  const disconnect = () => {
    hasGap = true;
    socket?.close();
  };

  const reconnect = () => {
    if (wrapper && wantsNews()) wrapper.reconnect();
  };

  // A new connection is sent every part, and the rows are read anew.
  const refresh = () => {
    hasSkipped = false;
    disconnect();
    reconnect();
  };

  document.addEventListener("htmx:wsOpen", (event) => {
    wrapper = event.detail.socketWrapper;
    opened = socket;
    hasAsked = false;
    if (!wantsNews()) return disconnect();
    isLost = false;
    lastMessage = Date.now();
    showConnection(isPaused ? "paused" : "live");
    showAge();
    if (hasGap && !isPaused) readRows();
  });

  // The rows as they are by now. What the socket brings before they are there goes with the old ones, so it is kept.
  const readRows = async () => {
    const before = rows();
    const meanwhile = [];
    came = meanwhile;
    hasGap = false;
    held = [];
    showHeld();
    try {
      await htmx.ajax("GET", location.href, { target: "#rows", select: "#rows", swap: "outerHTML" });
    } catch {} // it has said so
    if (came !== meanwhile) return; // they are being read once more
    came = null;
    if (rows() === before) {
      hasGap = true;
      setTimeout(() => hasGap && !isPaused && socket?.readyState === WebSocket.OPEN && readRows(), 1000 * RETRY_S.at(-1));
      return;
    }
    document.getElementById("tail-note").textContent = "";
    held = [];
    bring(meanwhile);
  };

  document.addEventListener("htmx:wsClose", (event) => {
    hasGap = true;
    const { target, code } = event.detail.event;
    if (!wantsNews() || target !== socket) return; // we closed it ourselves
    isLost = true;
    showConnection("lost");
    showAge();
    if (code === SIGNED_OUT) return location.reload();
    if (!TRIED_BY_EXTENSION.includes(code)) {
      setTimeout(() => target === socket && reconnect(), htmx.config.wsReconnectDelay(closed));
      closed += 1;
    }
    if (opened !== target && !hasAsked) askWhy();
  });

  // A browser is not told why it was refused: a page that was asked for says whether nobody is signed in any more.
  const askWhy = async () => {
    hasAsked = true;
    try {
      const answer = await fetch(location.href, { headers: { "HX-Request": "true" } });
      if (answer.redirected || [401, 403].includes(answer.status)) location.reload();
    } catch {} // nobody is there; the socket is tried again
  };

  document.addEventListener("htmx:wsAfterMessage", () => {
    lastMessage = Date.now();
    closed = 0;
    isLost = false;
    if (wantsNews()) showConnection(isPaused ? "paused" : "live");
  });

  setInterval(() => {
    if (wantsNews() && socket?.readyState === WebSocket.OPEN && Date.now() - lastMessage > SILENCE_S * 1000) {
      isLost = true;
      disconnect();
      reconnect();
    }
    showAge();
  }, 1000);

  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : reconnect()));

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    isLost = false;
    pause.textContent = isPaused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(isPaused));
    showConnection(isPaused ? "paused" : "live");
    showAge();
    if (!isPaused) refresh();
  });

  // Rows

  const isHeld = () => {
    if (isPaused) return true;
    const tail = rows();
    const selection = getSelection();
    return (
      tailTitle.getBoundingClientRect().bottom < 0 || // the head of the list was scrolled past
      tail.contains(document.activeElement) ||
      (!selection.isCollapsed && selection.containsNode(tail, true))
    );
  };

  const showHeld = () => {
    heldButton.hidden = held.length === 0;
    heldButton.textContent = `${held.length}${held.length >= MOST_ROWS ? " or more" : ""} new`;
  };

  const insert = (some) => {
    const fresh = some.filter((row) => !document.getElementById(row.id));
    document.getElementById("no-rows")?.remove();
    rows().prepend(...fresh);
    for (const row of fresh) row.classList.add("is-new");
    while (rows().children.length > MOST_ROWS) rows().lastElementChild.remove();
    setTimeout(() => fresh.forEach((row) => row.classList.remove("is-new")), NEW_FOR_MS);
  };

  const release = () => {
    insert(held);
    held = [];
    showHeld();
  };

  const bring = (fresh) => {
    held = fresh.filter((row) => !document.getElementById(row.id)).concat(held).slice(0, MOST_ROWS);
    if (held.length && !isHeld()) release();
    else showHeld();
  };

  heldButton.addEventListener("click", () => {
    release();
    rows().querySelector("a")?.focus();
    tailTitle.scrollIntoView({ block: "nearest" });
  });

  document.addEventListener("focusout", () => setTimeout(() => held.length && !isHeld() && release()));
  document.addEventListener("scroll", () => held.length && !isHeld() && release(), { passive: true });

  // Swaps: rows go where they disturb nobody; the focus stays where it was; a new verdict is said once.

  let focused = "";
  let headline = document.querySelector("#verdict h1")?.textContent;

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    if (target.id === "rows") {
      event.detail.shouldSwap = false;
      const fresh = [...fragment.children];
      came?.unshift(...fresh.map((row) => row.cloneNode(true)));
      bring(fresh);
      return;
    }
    const selection = getSelection();
    if (isPaused || (!selection.isCollapsed && selection.containsNode(target, true))) {
      event.detail.shouldSwap = false;
      hasSkipped = true;
    } else if (target.contains(document.activeElement)) {
      focused = document.activeElement.id;
    }
  });

  document.addEventListener("htmx:oobAfterSwap", () => {
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    focused = "";
    const now = document.querySelector("#verdict h1")?.textContent;
    if (now !== headline) document.getElementById("announcement").textContent = now;
    headline = now;
  });

  document.addEventListener("selectionchange", () => {
    if (hasSkipped && !isPaused && getSelection().isCollapsed) refresh();
  });
})();
