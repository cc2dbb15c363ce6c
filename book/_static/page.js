// The theme gives these buttons other names than what a reader sees on them; their content names them well.
addEventListener("load", () => {
  for (const button of document.querySelectorAll(".search-button-field, .theme-switch-button")) button.removeAttribute("aria-label");
});
