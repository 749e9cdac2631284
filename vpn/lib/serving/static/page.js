"use strict";

// Renews what is marked as live, every two seconds, from the page itself; it does so no longer than somebody looks.
// Without this script the page is the same, and `Read again` renews it.
(() => {
  const EVERY = 2000;
  const live = () => document.querySelectorAll("[data-live]");
  const freshness = document.getElementById("freshness");
  if (!freshness || live().length < 2) return;

  const button = document.createElement("button");
  button.type = "button";
  button.id = "pause";
  freshness.before(button);
  let paused = false;
  let over = false;

  // The same words again would be read out again.
  function say(words) {
    if (freshness.textContent !== words) freshness.textContent = words;
  }

  function show() {
    button.textContent = paused ? "Go on" : "Pause";
    say(paused ? "Paused." : "Renewed every 2 s.");
  }

  button.addEventListener("click", () => {
    paused = !paused;
    show();
  });

  // Who has marked some text to copy it would lose it.
  const marking = () => !window.getSelection().isCollapsed;

  function replace(part, fresh) {
    if (part.innerHTML === fresh.innerHTML) return;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.replaceChildren(...fresh.childNodes);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  async function renew() {
    try {
      const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
      if (answer.status === 401) {
        over = true;
        throw new Error("The hub asks for its link again: reload this page.");
      }
      if (!answer.ok) throw new Error("The hub cannot show this now; trying on.");
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of live()) {
        const other = fresh.getElementById(part.id);
        if (other) replace(part, other);
      }
      document.body.classList.remove("stale");
      show();
    } catch (error) {
      document.body.classList.add("stale");
      say(error instanceof TypeError ? "The hub does not answer; trying on." : error.message);
    }
  }

  async function go() {
    if (!paused && !document.hidden && !marking()) await renew();
    if (!over) setTimeout(go, EVERY);
  }

  show();
  setTimeout(go, EVERY);
})();
