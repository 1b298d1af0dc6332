// What the theme's script adds to a page gets names, and wide tables can be scrolled without a mouse.
(() => {
  let count = 0;
  const name = () => {
    for (const nav of document.querySelectorAll("nav.md-code__nav:not([aria-label])")) {
      count += 1;
      nav.setAttribute("aria-label", `Code ${count}`);
    }
    for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) {
      wrap.tabIndex = 0;
    }
  };
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
})();
