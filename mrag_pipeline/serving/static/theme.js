// Set before anything is drawn, so that no page flashes in the other theme: hence no module.
"use strict";
(() => {
  const root = document.documentElement;
  const wanted = () => {
    try {
      return localStorage.getItem("mrag-theme");
    } catch {
      return null; // storage is switched off: the system's theme it is
    }
  };
  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
  if (["light", "dark"].includes(wanted())) root.dataset.theme = wanted();
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const tell = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("mrag-theme", root.dataset.theme);
      } catch {
        root.dataset.kept = "no"; // it holds until the page is left
      }
      tell();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
    tell();
  });
})();
