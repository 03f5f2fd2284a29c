// The playground: answers appear as they come. The page works without this; then both come when they are whole.
"use strict";
(() => {
  const form = document.getElementById("play");
  const ask = document.getElementById("ask");
  const stop = document.getElementById("stop");
  const swap = document.getElementById("swap");
  const fields = ["a", "b"].map((column) => document.getElementById(`model-${column}`));
  const SAYS_WHY = [401, 403, 422]; // nobody was asked
  let asking = null;

  const say = (words) => {
    for (const id of ["headline", "announcement"]) document.getElementById(id).textContent = words;
  };

  swap.hidden = false;
  swap.addEventListener("click", () => {
    [fields[0].value, fields[1].value] = [fields[1].value, fields[0].value];
    fields[0].focus();
  });

  const take = (line) => {
    if (line.verdict !== undefined) say(line.verdict);
    if (line.text !== undefined) document.getElementById(`answer-${line.to}`).append(line.text);
    if (line.facts !== undefined) document.getElementById(`facts-${line.to}`).innerHTML = line.facts; // from the template
  };

  const read = async (body) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) take(JSON.parse(line));
    }
  };

  const show = (isAsking) => {
    // Who writes the next question meanwhile goes on writing: the focus follows the button that it was on.
    const follows = [document.body, isAsking ? ask : stop].includes(document.activeElement);
    ask.disabled = isAsking;
    stop.hidden = !isAsking;
    ask.textContent = isAsking ? "Asking…" : "Ask";
    form.setAttribute("aria-busy", String(isAsking));
    if (follows) (isAsking ? stop : ask).focus();
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    asking = new AbortController();
    for (const column of ["a", "b"]) {
      document.getElementById(`answer-${column}`).textContent = "";
      document.getElementById(`facts-${column}`).textContent = "";
    }
    say("Asking…");
    const data = new FormData(form);
    show(true);
    try {
      const response = await fetch(form.action, {
        method: "POST",
        body: data,
        headers: { Accept: "application/x-ndjson" },
        signal: asking.signal,
      });
      if (!response.headers.get("Content-Type")?.startsWith("application/x-ndjson")) {
        // A fault, or nobody signed in: the server's own page says which. Else both may have been asked, and cost.
        if (response.redirected || SAYS_WHY.includes(response.status)) form.submit();
        else say("Whether it was asked is not known. Look under Requests.");
        return;
      }
      await read(response.body);
    } catch {
      say(asking.signal.aborted ? "Stopped." : "The connection broke off. What came stands below.");
    } finally {
      asking = null;
      show(false);
    }
  });

  stop.addEventListener("click", () => asking?.abort());
})();
