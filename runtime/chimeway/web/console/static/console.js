// Keeps the page's live part up to date, and moments told as people say them. Everything works without it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const pulse = document.getElementById("pulse");

  const span = (seconds) => {
    let left = Math.floor(seconds);
    if (left >= 60) left -= left % 60;
    const parts = [];
    for (const [name, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
      if (left >= length && parts.length < 2) {
        parts.push(`${Math.floor(left / length)} ${name}`);
        left %= length;
      } else if (parts.length) break;
    }
    return parts.join(" ") || "0 s";
  };
  // The node's clock, not the reader's: a phone may be minutes off.
  const ahead = () => Number(document.body.dataset.ahead || 0);
  const tell = () => {
    const now = Date.now() + ahead();
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const length = (Date.parse(each.dateTime) - now) / 1000;
      const told = Math.abs(length) < 1 ? "now" : length < 0 ? `${span(-length)} ago` : `in ${span(length)}`;
      if (each.textContent !== told) each.textContent = told;
    }
  };
  const clock = document.body.dataset.now;
  if (clock) document.body.dataset.ahead = String(Date.parse(clock) - Date.now());
  setInterval(tell, 5000);

  if (!live || !window.EventSource) return;
  const show = (html) => {
    // Whoever is in it by the keyboard stays where he was: at the same link, or else at the same place.
    const places = () => [...live.querySelectorAll("a, button, summary, [tabindex]")];
    const name = (each) => each.getAttribute("href") || each.id;
    const active = document.activeElement;
    const place = places().indexOf(active);
    const scrolled = [...live.querySelectorAll(".figure")].map((each) => each.scrollLeft);
    const open = [...live.querySelectorAll("details[open]")].map((each) => each.id);
    live.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    [...live.querySelectorAll(".figure")].forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
    if (place >= 0) {
      const now = places();
      const again = now.find((each) => name(each) && name(each) === name(active)) || now[Math.min(place, now.length - 1)];
      if (again) again.focus({ preventScroll: true });
    }
    tell();
  };
  let source = null;
  const watch = () => {
    if (source || document.hidden) return;
    source = new EventSource(location.href);
    source.addEventListener("part", (event) => {
      // The first part is mostly what the page shows already.
      if (event.lastEventId !== live.dataset.mark) show(JSON.parse(event.data).html);
      live.dataset.mark = event.lastEventId;
      if (pulse) { pulse.hidden = false; pulse.classList.remove("fresh"); void pulse.offsetWidth; pulse.classList.add("fresh"); }
    });
    source.addEventListener("over", () => { source.close(); source = null; if (pulse) pulse.hidden = true; });
    source.onerror = () => { if (pulse) pulse.hidden = true; };
  };
  const rest = () => { if (source) { source.close(); source = null; } };
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : watch()));
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", watch);
  watch();
})();
