// What was asked for and did not come is said where it was asked for, with what to do next. htmx swaps nothing then, and
// says nothing. A page that asks by itself says so by itself.
"use strict";
(() => {
  const WHY = {
    403: "This account may not do that, or is not signed in any more.",
    404: "It is not there any more.",
    408: "It did not arrive in time.",
    413: "It was too large.",
    429: "Too much was asked at once.",
    503: "What makes pages, or what they read, did not answer in time.",
  };
  const dialog = document.getElementById("dialog");
  const said = document.createElement("div");
  said.className = "result warning failed";
  said.setAttribute("role", "alert");

  const isPoll = ({ detail }) => detail.elt?.matches?.("[data-poll]");

  const say = (event, isSure, why) => {
    if (isPoll(event)) return;
    const isAct = (event.detail.requestConfig?.verb ?? "get") !== "get";
    const what = !isAct ? "It could not be read." : isSure ? "It was not done." : "Whether it was done is not known.";
    const again = document.createElement("a");
    again.href = location.href;
    again.textContent = "Load the page again";
    said.replaceChildren(`${what} ${why} `, again);
    (dialog.open ? dialog : document.getElementById("main")).prepend(said);
  };

  document.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    say(event, status < 500, WHY[status] ?? `The answer was an error (${status}).`);
  });
  for (const silence of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(silence, (event) => say(event, false, "No answer came."));
  }
  document.addEventListener("htmx:afterRequest", (event) => {
    const isAsked = event.detail.elt !== document.body && !isPoll(event); // by somebody, not by a script
    if (event.detail.successful && isAsked) said.remove();
  });
})();
