// The theme gives these buttons other names than what a reader sees on them; their content names them well.
addEventListener("load", () => {
  for (const button of document.querySelectorAll(".search-button-field, .theme-switch-button")) button.removeAttribute("aria-label");
  // The navigation's folds show an arrow only: name them by the page whose parts they hold.
  for (const fold of document.querySelectorAll("nav summary, .bd-sidebar summary")) {
    const page = fold.closest("li")?.querySelector("a");
    if (page) fold.setAttribute("aria-label", `Parts of ${page.textContent.trim()}`);
  }
});
