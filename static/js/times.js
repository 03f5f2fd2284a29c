// Times of day in the viewer's zone. Without this they stand in UTC, as they were served.
"use strict";
(() => {
  const MINUTE = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const SECOND = new Intl.DateTimeFormat([], {
    hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
  });
  const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  const BOTH = { format: (moment) => `${DAY.format(moment)} ${MINUTE.format(moment)}` };
  const STYLES = { minute: MINUTE, second: SECOND, day: DAY, both: BOTH };

  const localise = () => {
    for (const element of document.querySelectorAll("[data-clock]:not([data-is-local])")) {
      const moment = new Date(element.dataset.time ?? element.dateTime);
      element.textContent = (STYLES[element.dataset.clock] ?? MINUTE).format(moment);
      element.dataset.isLocal = "";
    }
  };

  localise();
  document.addEventListener("htmx:wsAfterMessage", localise);
  document.addEventListener("htmx:afterSwap", localise);
  document.addEventListener("rows:new", localise);
})();
