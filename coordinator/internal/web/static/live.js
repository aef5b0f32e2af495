// Follows the page as a stream, as long as it is looked at, and shows what changed. Without it the page is as good,
// and has to be loaded anew.
"use strict";
(() => {
  const live = document.getElementById("live");
  const follow = document.getElementById("follow");
  if (!live || !follow || !window.EventSource) return;
  let source = null;

  live.innerHTML = live.innerHTML.trim(); // as what comes later

  const say = (text) => { if (follow.textContent !== text) follow.textContent = text; };

  // Changes as little as possible: what has an id and is the same stays, and so do focus, selection and scrolling.
  const update = (now, next) => {
    if (now.isEqualNode(next)) return;
    const children = [...next.children];
    const byId = children.length > 0 && children.every((c) => c.id);
    const texts = [...next.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    const single = children.length === 1 && now.children.length === 1 && now.firstElementChild.localName === children[0].localName;
    if (texts || !(byId || single)) {
      if (now.localName === next.localName && sameShape(now, next)) {
        sync(now, next);
        return;
      }
      if (now === live) now.replaceChildren(...next.childNodes);
      else now.replaceWith(next);
      return;
    }
    attributes(now, next);
    if (single && !byId) {
      update(now.firstElementChild, children[0]);
      return;
    }
    let at = now.firstElementChild;
    for (const child of children) {
      const have = [...now.children].find((c) => c.id === child.id);
      if (!have) {
        now.insertBefore(child, at);
        continue;
      }
      if (have !== at) now.insertBefore(have, at);
      at = have.nextElementSibling;
      update(have, child);
    }
    while (at) {
      const gone = at;
      at = at.nextElementSibling;
      gone.remove();
    }
  };

  const sameShape = (a, b) => a.childNodes.length === b.childNodes.length &&
    [...a.childNodes].every((n, i) => n.nodeName === b.childNodes[i].nodeName);

  const sync = (now, next) => {
    attributes(now, next);
    [...now.childNodes].forEach((n, i) => {
      const m = next.childNodes[i];
      if (n.nodeType === Node.TEXT_NODE) {
        if (n.data !== m.data) n.data = m.data;
      } else if (n.nodeType === Node.ELEMENT_NODE) {
        update(n, m.cloneNode(true));
      }
    });
  };

  const attributes = (now, next) => {
    for (const name of now.getAttributeNames()) if (!next.hasAttribute(name) && name !== "open") now.removeAttribute(name);
    for (const name of next.getAttributeNames()) if (now.getAttribute(name) !== next.getAttribute(name)) now.setAttribute(name, next.getAttribute(name));
  };

  const show = (html) => {
    const next = live.cloneNode(false);
    next.innerHTML = html.trim();
    const focused = document.activeElement && document.activeElement.id;
    update(live, next);
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
    document.dispatchEvent(new Event("shown"));
  };

  const start = () => {
    if (source || document.hidden) return;
    source = new EventSource("/events?of=" + encodeURIComponent(location.pathname + location.search));
    source.onopen = () => say("Live.");
    source.addEventListener("show", (e) => { show(e.data); say("Live, last changed at " + new Date().toLocaleTimeString() + "."); });
    source.addEventListener("end", (e) => { stop(); say(e.data); });
    source.onerror = () => say(source && source.readyState === EventSource.CLOSED ?
      "Not live: load the page again, or log in anew." : "Not live now: the coordinator does not answer.");
  };
  const stop = () => { if (source) source.close(); source = null; };

  // A page that nobody looks at costs nothing, and browsers have few connections to share among all of them.
  document.addEventListener("visibilitychange", () => document.hidden ? stop() : start());
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", start);
  start();
})();
